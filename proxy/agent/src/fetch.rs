//! Asking a running agent over HTTP, for the commands that do.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// An agent that does not answer in that time has something else to do.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody listens there.
    #[error("no agent answers on {0} (its metrics address; in its network namespace): {1}")]
    Connect(SocketAddr, std::io::Error),
    /// It hung up, or speaks something else.
    #[error("asking the agent on {0}: {1}")]
    Http(SocketAddr, hyper::Error),
    /// No request can be made of that path.
    #[error("asking the agent for {0:?}: {1}")]
    Path(String, hyper::http::Error),
    /// It took too long.
    #[error("the agent on {0} did not answer in {1:?}")]
    Slow(SocketAddr, Duration),
}

/// The status and body of a page of the agent whose metrics are served on this address.
pub async fn get(address: SocketAddr, path: &str) -> Result<(u16, String), FetchError> {
    tokio::time::timeout(PATIENCE, ask(address, path)).await.unwrap_or(Err(FetchError::Slow(address, PATIENCE)))
}

async fn ask(address: SocketAddr, path: &str) -> Result<(u16, String), FetchError> {
    let http = |error| FetchError::Http(address, error);
    let stream = TcpStream::connect(address).await.map_err(|error| FetchError::Connect(address, error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path).header(HOST, address.to_string()).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| FetchError::Path(path.into(), error))?;
    let answer = sender.send_request(request).await.map_err(http)?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.map_err(http)?.to_bytes();
    connection.abort();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
