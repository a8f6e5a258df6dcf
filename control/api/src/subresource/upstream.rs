//! A server that requests are passed on to: a kubelet over TLS, or a pod over plain HTTP. One connection for each request; it
//! ends when the answer's body has been read or is dropped.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::rest::Call;
use crate::status::Status;
use crate::wire::{Body, BoxError};

const KUBELET_PORT: u16 = 10250;
const PATIENCE: Duration = Duration::from_secs(10);

/// Where requests are passed on to.
pub struct Upstream {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How to speak TLS; `None` is plain HTTP.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Whom its certificate must name, if not the host.
    pub name: Option<String>,
}

impl Upstream {
    /// The kubelet of a node, at its preferred address.
    pub fn kubelet(call: &Call, node: &str) -> Result<Self, Status> {
        let cache = call.server.registry().hub().cache_at("minions");
        let object = cache.and_then(|c| c.get(node)).ok_or_else(|| Status::not_found_as("", "nodes", node))?.value();
        let tls = call.server.config().kubelet_client.clone();
        let tls = tls.ok_or_else(|| Status::internal("this server has no client certificate for kubelets"))?;
        let status = &object["status"];
        let addresses = status["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
        let of = |kind: &str| addresses.iter().find(|a| a["type"] == kind).and_then(|a| a["address"].as_str());
        let host = of("InternalIP").or(of("Hostname")).or(of("ExternalIP")).ok_or_else(|| {
            Status::internal(format!("no preferred addresses found; known addresses: [] of node {node}"))
        })?;
        let port = &status["daemonEndpoints"]["kubeletEndpoint"]["Port"];
        let port = port.as_u64().and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0);
        Ok(Self { host: host.to_owned(), port: port.unwrap_or(KUBELET_PORT), tls: Some(tls), name: None })
    }

    /// The URL of a path there, for error texts.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.authority())
    }

    fn authority(&self) -> String {
        let (host, port) = (&self.host, self.port);
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// Sends a request; the answer's body streams until it ends or `closing` is cancelled.
    pub async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        closing: CancellationToken,
    ) -> Result<Response<Body>, BoxError> {
        request.headers_mut().insert(header::HOST, HeaderValue::from_str(&self.authority())?);
        let stream = TcpStream::connect((self.host.as_str(), self.port));
        let stream = tokio::time::timeout(PATIENCE, stream).await??;
        let response = match self.tls.clone() {
            None => exchange(TokioIo::new(stream), request).await?,
            Some(tls) => {
                let name = ServerName::try_from(self.name.clone().unwrap_or_else(|| self.host.clone()))?;
                let stream = TlsConnector::from(tls).connect(name, stream);
                exchange(TokioIo::new(tokio::time::timeout(PATIENCE, stream).await??), request).await?
            }
        };
        let closing = Box::pin(closing.cancelled_owned());
        let body = |body: hyper::body::Incoming| BodyStream::new(body.map_err(BoxError::from)).take_until(closing);
        Ok(response.map(|b| StreamBody::new(body(b)).boxed_unsync()))
    }
}

async fn exchange<T>(stream: T, request: Request<Full<Bytes>>) -> Result<Response<hyper::body::Incoming>, BoxError>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    // Ends when the answer's body is dropped or read to its end.
    tokio::spawn(connection.with_upgrades());
    Ok(sender.send_request(request).await?)
}

/// The names in a list of an object, as of containers.
pub fn names(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|c| c["name"].as_str().map(Into::into)).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;
    use http_body_util::{BodyExt, Full};
    use orlop_auth::pki::{CertificateAuthority, Subject, Usage};
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn a_pod_with_a_certificate_of_its_own_is_spoken_to() {
        let usage = Usage::Server { names: vec!["nobody.example".into()], addresses: vec![] };
        let issued = CertificateAuthority::generate("a pod").unwrap().issue(&Subject::new("pod", &[]), &usage).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nfoo").await.unwrap();
            let _ = stream.shutdown().await;
        });
        let tls = Some(orlop_auth::to_anyone().unwrap());
        let pod = Upstream { host: "127.0.0.1".into(), port, tls, name: None };
        let request = Request::new(Full::new(Bytes::new()));
        let answer = pod.send(request, CancellationToken::new()).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "foo");
    }
}
