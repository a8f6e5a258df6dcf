//! A client that costs little: requests and answers as bytes over one HTTP/2 connection, as client-go holds one.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::frames::Frames;

/// Whom the clients are: the administrator of a kubeconfig.
#[derive(Clone)]
pub struct Client {
    port: u16,
    tls: TlsConnector,
}

/// One connection; clones share it.
#[derive(Clone)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    authority: Arc<str>,
}

impl Client {
    /// Of a server on loopback.
    pub async fn of(kubeconfig: &Path, port: u16) -> Result<Self> {
        let config = Kubeconfig::read_from(kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        let mut tls = config.rustls_client_config()?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { port, tls: TlsConnector::from(Arc::new(tls)) })
    }

    async fn tls(&self) -> Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        self.tls.connect(ServerName::try_from("127.0.0.1")?, stream).await.context("the TLS handshake")
    }

    fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Connects, for what is timed frame by frame.
    pub async fn frames(&self) -> Result<Frames> {
        Frames::new(self.tls().await?, self.authority()).await
    }

    /// Connects.
    pub async fn connect(&self) -> Result<Connection> {
        let stream = self.tls().await?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(4 << 20).initial_connection_window_size(16 << 20);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection { sender, authority: self.authority().into() })
    }
}

impl Connection {
    /// Asks; the answer's body is yet to be read.
    pub async fn open(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>> {
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.authority))
            .header("content-type", kind)
            .header("accept", "application/json")
            .body(Full::new(body))?;
        let mut sender = self.sender.clone();
        sender.ready().await?;
        Ok(sender.send_request(request).await?)
    }

    /// Asks, and reads the answer, which must be a success.
    pub async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        let (status, body) = self.answer(method, path, body).await?;
        ensure!(status.is_success(), "{path}: {status}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }

    /// Asks, and reads the answer, which must be a success, to its end without keeping it: of how many bytes it was.
    pub async fn length(&self, method: Method, path: &str) -> Result<usize> {
        let answer = self.open(method, path, Bytes::new()).await?;
        ensure!(answer.status().is_success(), "{path}: {}", answer.status());
        let (mut body, mut length) = (answer.into_body(), 0);
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(length)
    }

    /// Asks, and reads the answer.
    pub async fn answer(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes)> {
        let answer = self.open(method, path, body).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }
}
