//! The kubelet's HTTP API on port 10250. `tls` verifies client certificates, `authorize` asks the API server about every caller,
//! `routes` says what is served, `logs` and `follow` read containers' logs, `streaming` connects clients with containers.

mod authorize;
mod follow;
mod logs;
mod query;
mod routes;
mod streaming;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::kubelet::Kubelet;
use crate::pods::Known;
use authorize::Certified;
pub use tls::server_tls;

/// Who connects and says nothing is not waited for.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Serves until it is dropped.
pub async fn serve(kubelet: Arc<Kubelet>, known: Known, listener: TcpListener) {
    let acceptor = TlsAcceptor::from(kubelet.config.tls.clone());
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: some will come back.
                tracing::warn!(%error, "accepting a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let (acceptor, kubelet, known) = (acceptor.clone(), kubelet.clone(), known.clone());
        connections.spawn(async move {
            let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => return tracing::debug!("a TLS handshake took too long"),
            };
            let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let owner = Certified::of(certificate);
            let service = service_fn(move |request| {
                let (kubelet, known, owner) = (kubelet.clone(), known.clone(), owner.clone());
                async move { Ok::<_, std::convert::Infallible>(routes::answer(&kubelet, &known, &owner, request).await) }
            });
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            if let Err(error) = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
}
