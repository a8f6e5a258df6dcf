//! DNS over UDP: a datagram, a datagram.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use crate::Dns;
use crate::dns::First;
use crate::message::Transport;

/// A question is shorter; what is longer is cut, and then a format error.
const LONGEST: usize = 4096;
/// How long a socket that fails is left alone.
const PAUSE: Duration = Duration::from_millis(10);

pub(super) async fn serve(dns: Arc<Dns>, socket: Arc<UdpSocket>, stop: CancellationToken) {
    let mut buffer = vec![0; LONGEST];
    loop {
        let (length, client) = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            received = socket.recv_from(&mut buffer) => match received {
                Ok(received) => received,
                Err(error) => {
                    // An earlier answer found nobody: that is told on the next call.
                    tracing::debug!(%error, "receiving a question");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        match dns.first(&buffer[..length], Transport::Udp, client) {
            First::Silence => {}
            First::Say(answer) => send(&socket, &answer, client).await,
            First::Wait(waiting) => {
                let (dns, socket) = (dns.clone(), socket.clone());
                // How many wait is bounded by `max_concurrent`: more than that are refused at once.
                tokio::spawn(async move { send(&socket, &dns.second(*waiting).await, client).await });
            }
        }
    }
}

async fn send(socket: &UdpSocket, answer: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(answer, client).await {
        tracing::debug!(%error, %client, "sending an answer");
    }
}
