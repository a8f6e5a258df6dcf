//! Listeners: TLS always, HTTP/1.1 and HTTP/2 by ALPN, the client certificate's user attached to each of the connection's
//! requests.

use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::server::danger::ClientCertVerifier;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::audit::Peer;
use crate::authenticate::Certificate;
use crate::server::ApiServer;
use crate::wire::BoxError;

mod gathered;

use gathered::Gathered;

/// A client that has not finished its TLS handshake or its request's headers by then is dropped.
const PATIENCE: Duration = Duration::from_secs(32);
/// After the listener was told to stop, requests in flight may take this long.
const GRACE: Duration = Duration::from_secs(10);
/// How long a connection may be silent before its client is asked whether it is still there, and then between two questions: the
/// sessions of clients that vanished end.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Streams of one HTTP/2 connection (client-go and kubelets keep many watches on one).
const MAX_STREAMS: u32 = 1000;

/// Tells a request that lasts that its listener is being closed. Travels as a request extension.
#[derive(Debug, Clone)]
pub struct Closing(pub CancellationToken);

impl ApiServer {
    /// For the TLS of a listener that is to be served: it asks for client certificates.
    pub fn client_certificates(&self) -> Arc<dyn ClientCertVerifier> {
        self.certificates().verifier()
    }

    /// Serves a listener until `stop`; then ends watches and logs, and lets other requests in flight finish for a moment.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        stop: CancellationToken,
    ) {
        let acceptor = TlsAcceptor::from(tls);
        let connections = tokio_util::task::TaskTracker::new();
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Out of file descriptors or a connection reset before it was accepted: neither ends the server.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
            };
            connections.spawn(connection(self.clone(), stream, acceptor.clone(), stop.clone()));
        }
        connections.close();
        if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
            tracing::info!("requests were still running when the listener was closed");
        }
    }
}

fn keep_alive(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&keepalive) {
        tracing::debug!(%error, "a connection without keepalive");
    }
}

async fn connection(server: Arc<ApiServer>, stream: TcpStream, acceptor: TlsAcceptor, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    // Nobody else asks.
    let peer = stream.peer_addr().ok().filter(|_| server.audit().is_on()).map(|peer| Peer(peer.ip()));
    keep_alive(&stream);
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await else { return };
    let shared = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let chain = stream.get_ref().1.peer_certificates().filter(|chain| !chain.is_empty());
    let certificate = chain.map(|chain| Certificate(server.certificates().certified(chain)));
    let io = Gathered::new(stream, shared);
    let closing = Closing(stop.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let (server, certificate, closing) = (server.clone(), certificate.clone(), closing.clone());
        async move {
            let (mut parts, body) = request.into_parts();
            parts.extensions.insert(closing);
            if let Some(certificate) = certificate {
                parts.extensions.insert(certificate);
            }
            if let Some(peer) = peer {
                parts.extensions.insert(peer);
            }
            let body = body.map_err(BoxError::from).boxed_unsync();
            Ok::<_, std::convert::Infallible>(server.handle(Request::from_parts(parts, body)).await)
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(1 << 20);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(15))
        .max_header_list_size(1 << 20);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(io.clone()), service);
    let (mut connection, mut stopped) = (pin!(connection), pin!(stop.cancelled().fuse()));
    let served = std::future::poll_fn(|context| {
        if stopped.as_mut().poll(context).is_ready() {
            connection.as_mut().graceful_shutdown();
        }
        let served = connection.as_mut().poll(context);
        if served.is_ready() {
            io.release(context)
        } else {
            io.send(context)
        }
        served
    });
    if let Err(error) = served.await {
        tracing::debug!(%error, "connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_of_clients_that_vanished_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        keep_alive(&stream);
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(
            (socket.tcp_keepalive_time().unwrap(), socket.tcp_keepalive_interval().unwrap()),
            (KEEPALIVE, KEEPALIVE)
        );
    }
}
