//! The small HTTP servers: one answer for each path, sockets that are opened now or again and again.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, setsockopt, sockopt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Error;

/// An address that is taken is tried again so often.
const RETRY: Duration = Duration::from_secs(5);

pub(crate) type Answer = Response<Full<Bytes>>;

/// What was asked.
pub(crate) struct Request {
    pub path: String,
    /// After the `?`.
    pub query: String,
    /// The header `Accept`.
    pub accept: String,
    /// The address of ours that was called.
    pub local: SocketAddr,
}

/// Answers requests.
pub(crate) trait Handler: Send + Sync + 'static {
    fn answer(&self, request: Request) -> impl Future<Output = Answer> + Send;
}

/// A page of ours.
pub(crate) fn page(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// A page of plain text.
pub(crate) fn plain(status: StatusCode, body: impl Into<String>) -> Answer {
    page(status, "text/plain; charset=utf-8", body.into())
}

/// The page for paths that are none.
pub(crate) fn not_found() -> Answer {
    plain(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// Opens a listening socket; one on `::` leaves IPv4 to others.
pub(crate) fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket::socket(family, SockType::Stream, flags, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    socket::bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &SockaddrStorage::from(address))?;
    socket::listen(&socket, Backlog::new(128)?)?;
    TcpListener::from_std(socket.into())
}

/// Serves until the token is cancelled. With `hard_fail`, an address that cannot be had is an error; otherwise it is tried
/// again until it can.
pub(crate) async fn serve(
    what: &'static str,
    address: SocketAddr,
    hard_fail: bool,
    handler: impl Handler,
    stop: CancellationToken,
) -> Result<(), Error> {
    let handler = Arc::new(handler);
    let bound = TcpListener::bind(address).await;
    match bound {
        Ok(listener) => drop(tokio::spawn(accept(what, listener, handler, stop))),
        Err(source) if hard_fail => return Err(Error::Listen { what, address, source }),
        Err(error) => {
            tracing::error!(%error, %address, what, "cannot listen; trying again");
            tokio::spawn(async move {
                loop {
                    tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(RETRY) => {} }
                    if let Ok(listener) = TcpListener::bind(address).await {
                        return accept(what, listener, handler, stop).await;
                    }
                }
            });
        }
    }
    Ok(())
}

/// Answers whoever connects until the token is cancelled.
pub(crate) async fn accept<H: Handler>(
    what: &'static str,
    listener: TcpListener,
    handler: Arc<H>,
    stop: CancellationToken,
) {
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, what, "accepting");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let Ok(local) = stream.local_addr() else { continue };
        let (handler, stop) = (handler.clone(), stop.clone());
        tokio::spawn(async move {
            let service = service_fn(|request: hyper::Request<Incoming>| {
                let (path, query) = (request.uri().path().into(), request.uri().query().unwrap_or_default().into());
                let accept =
                    request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default().into();
                let answer = handler.answer(Request { path, query, accept, local });
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new());
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            // A client that goes away is its own business.
            tokio::select! { _ = connection => {}, () = stop.cancelled() => {} }
        });
    }
}
