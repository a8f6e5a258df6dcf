//! Flows over UDP.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use super::{Flow, PATIENCE, parse};
use crate::exchange::now;

fn socket(to: SocketAddr) -> io::Result<UdpSocket> {
    UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })
}

/// Waits for the answer to datagram `count`; answers to earlier ones, which were given up, are passed over.
fn answer(socket: &UdpSocket, to: SocketAddr, count: u64, patience: Duration) -> io::Result<(String, String)> {
    let deadline = Instant::now() + patience;
    let mut buffer = [0; 2048];
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left))?;
        let (read, from) = socket.recv_from(&mut buffer)?;
        if from != to {
            return Err(io::Error::other(format!("the answer came from {from}")));
        }
        let text = String::from_utf8_lossy(&buffer[..read]);
        if text.ends_with(&format!(" {count}")) {
            return parse(&text);
        }
    }
}

/// One datagram from a new socket. Nothing here loses any but the proxy: there is no second try.
pub(super) fn short(to: SocketAddr) -> io::Result<(String, String)> {
    let socket = socket(to)?;
    // Connected, so that a refusal is heard.
    socket.connect(to)?;
    // Where the node's own kernel stops the datagram, this says EPERM; whether it was refused is told afterwards.
    match socket.send(b"1") {
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
        _ => {}
    }
    answer(&socket, to, 1, PATIENCE)
}

/// One socket; made again if it breaks, which is told, as each datagram without an answer is.
pub(super) fn held(flow: &Flow, connected: bool) {
    const ONE_ANSWER: Duration = Duration::from_secs(1);
    let mut count = 0;
    while !flow.stopped() {
        let result = socket(flow.to).and_then(|socket| {
            if connected {
                socket.connect(flow.to)?;
            }
            while !flow.stopped() {
                let began = now();
                count += 1;
                let text = count.to_string();
                if connected { socket.send(text.as_bytes()) } else { socket.send_to(text.as_bytes(), flow.to) }?;
                match answer(&socket, flow.to, count, ONE_ANSWER) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        flow.tell(began, Err("no answer to a datagram within 1 s".into()));
                    }
                    other => flow.tell(began, Ok(other?)),
                }
                thread::sleep(flow.period());
            }
            Ok(())
        });
        if let Err(error) = result {
            flow.tell(now(), Err(format!("the socket broke: {error}")));
            thread::sleep(flow.period());
        }
    }
}
