//! `orlop publish`: NodePorts on the person's loopback.
//!
//! The listening sockets were opened in the person's network namespace and handed over by descriptor; the connections to the node's own
//! address are opened here, in node 1's. No namespace is changed for it.

use anyhow::{Context, Result, ensure};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::RawFd;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// One published port.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    /// The listening socket, as inherited.
    pub listen_fd: RawFd,
    /// Where its connections go.
    pub to: SocketAddr,
}

impl Published {
    /// Pairs `--port` and `--listen-fd` in the order in which they were given.
    pub fn pairs(to: Ipv4Addr, ports: &[u16], listen_fds: &[RawFd]) -> Result<Vec<Self>> {
        ensure!(ports.len() == listen_fds.len(), "{} --port but {} --listen-fd", ports.len(), listen_fds.len());
        let pairs = ports.iter().zip(listen_fds);
        Ok(pairs.map(|(port, listen_fd)| Self { listen_fd: *listen_fd, to: (to, *port).into() }).collect())
    }
}

/// Forwards for ever.
pub async fn publish(ports: &[Published]) -> Result<()> {
    ensure!(!ports.is_empty(), "no port to publish");
    let mut tasks = tokio::task::JoinSet::new();
    for port in ports {
        let listener = crate::sys::inherited_listener(port.listen_fd)
            .and_then(TcpListener::from_std)
            .with_context(|| format!("taking over descriptor {} for port {}", port.listen_fd, port.to.port()))?;
        tasks.spawn(serve(listener, port.to));
    }
    tasks.join_all().await;
    Ok(())
}

async fn serve(listener: TcpListener, to: SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((person, _)) => {
                tokio::spawn(async move {
                    if let Err(error) = forward(person, to).await {
                        tracing::debug!(%to, %error, "connection ended");
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: waiting is what helps.
                tracing::warn!(%to, %error, "accepting");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// Each direction ends on its own: a client that has sent all it has still gets its answer.
async fn forward(mut person: TcpStream, to: SocketAddr) -> std::io::Result<()> {
    let mut node = TcpStream::connect(to).await?;
    person.set_nodelay(true)?;
    node.set_nodelay(true)?;
    copy_bidirectional(&mut person, &mut node).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_client_that_closed_its_sending_half_still_gets_the_answer() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = server.local_addr().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let listen_fd = listener.into_raw_fd();
        tokio::spawn(async move { publish(&[Published { listen_fd, to }]).await });
        tokio::spawn(async move {
            let (mut stream, _) = server.accept().await.unwrap();
            let mut question = String::new();
            stream.read_to_string(&mut question).await.unwrap();
            stream.write_all(format!("{question}!").as_bytes()).await.unwrap();
        });
        let mut client = TcpStream::connect(at).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "hello!");
    }

    #[test]
    fn each_port_needs_its_descriptor() {
        assert!(Published::pairs(Ipv4Addr::LOCALHOST, &[1, 2], &[3]).is_err());
    }
}
