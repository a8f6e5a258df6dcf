//! `SPDY/3.1+portforward.k8s.io`: what a client and the runtime say to each other in SPDY, in the messages of a WebSocket, which
//! passes proxies that SPDY does not (KEP-4006). What is in them is not looked at.

use std::io;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::websocket::{Message, Reader, Writer};

/// Before the name of the protocol that is tunnelled.
pub const PREFIX: &str = "SPDY/3.1+";

/// Carries bytes both ways until one side ends.
pub async fn run(client: OnUpgrade, upstream: OnUpgrade, closing: CancellationToken) -> io::Result<()> {
    let (client, upstream) = tokio::try_join!(client, upstream).map_err(io::Error::other)?;
    let (reader, writer) = tokio::io::split(TokioIo::new(client));
    let (mut reader, writer) = (Reader::new(reader), Mutex::new(Writer::new(writer)));
    let (mut from_runtime, mut to_runtime) = tokio::io::split(TokioIo::new(upstream));
    let up = async {
        loop {
            match reader.next().await? {
                Message::Data(bytes) => {
                    to_runtime.write_all(&bytes).await?;
                    to_runtime.flush().await?;
                }
                Message::Ping(payload) => writer.lock().await.pong(&payload).await?,
                Message::Close => return Ok(()),
            }
        }
    };
    let down = async {
        let mut buffer = vec![0; 32 << 10];
        loop {
            match from_runtime.read(&mut buffer).await? {
                0 => return writer.lock().await.close().await,
                read => writer.lock().await.send(&[&buffer[..read]]).await?,
            }
        }
    };
    tokio::select! {
        result = up => result,
        result = down => result,
        () = closing.cancelled() => writer.lock().await.close().await,
    }
}
