//! DNS over TCP (RFC 7766): each message after its length; questions of one connection are answered in their order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::Dns;
use crate::dns::First;
use crate::message::Transport;

/// A connection may be silent so long.
const IDLE: Duration = Duration::from_secs(10);
/// A message that began must end within this, and an answer be taken.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(50);
/// A question is shorter; whoever sends more is cut off.
const LONGEST: usize = 4096;

pub(super) async fn serve(dns: Arc<Dns>, listener: TcpListener, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(dns.config.max_connections));
    loop {
        let (stream, client) = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "accepting");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        // Beyond the bound a connection is closed at once: the client asks again, and silent ones have gone by then.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (dns, stop) = (dns.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                ended = converse(&dns, stream, client) => if let Err(error) = ended {
                    tracing::debug!(%error, %client, "a connection ended");
                },
            }
            drop(place);
        });
    }
}

async fn converse(dns: &Arc<Dns>, mut stream: TcpStream, client: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let length = match timeout(IDLE, stream.read_u16()).await {
            Ok(Ok(length)) => usize::from(length),
            // The end, or silence.
            Ok(Err(_)) | Err(_) => return Ok(()),
        };
        if length > LONGEST {
            return Ok(());
        }
        buffer.resize(length, 0);
        timeout(PATIENCE, stream.read_exact(&mut buffer)).await??;
        let answer = match dns.first(&buffer, Transport::Tcp, client) {
            First::Silence => return Ok(()),
            First::Say(answer) => answer,
            First::Wait(waiting) => dns.second(*waiting).await,
        };
        // An answer is never longer: the encoder's limit is the same.
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        timeout(PATIENCE, stream.write_all(&[&length.to_be_bytes()[..], &answer].concat())).await??;
    }
}
