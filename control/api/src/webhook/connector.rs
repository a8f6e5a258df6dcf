//! The way to a webhook: name or Service to address, TCP, TLS. Whatever fails on it is told in the words of Go's `net` and
//! `crypto/tls`, which people look for.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::{CertificateError, ClientConfig as TlsConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::ClientConfig;
use crate::cache::Hub;
use crate::service_resolver;

/// Connects to one webhook.
#[derive(Clone)]
pub struct Connector {
    hub: Arc<Hub>,
    service: Option<(String, String, u16)>,
    tls: Arc<TlsConfig>,
}

/// Why there is no connection.
#[derive(Debug)]
pub struct Failed(String);

/// The system's certificates: many files, read once.
static SYSTEM: LazyLock<RootCertStore> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
});

/// Reads the system's certificates, so that no request has to wait for that.
pub fn read_system_roots() {
    LazyLock::force(&SYSTEM);
}

/// Whom a client believes: a CA bundle's certificates (PEM), or the system's if there is none.
pub fn roots(bundle: &[u8]) -> Result<RootCertStore, String> {
    if bundle.is_empty() {
        return Ok(SYSTEM.clone());
    }
    let mut roots = RootCertStore::empty();
    let bundle = CertificateDer::pem_slice_iter(bundle).filter_map(Result::ok);
    match roots.add_parsable_certificates(bundle) {
        (0, _) => Err("unable to load root certificates: unable to parse bytes as PEM block".into()),
        _ => Ok(roots),
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Failed {}

impl Connector {
    /// Believes the configuration's CA bundle, or the system's certificates if there is none.
    pub fn new(hub: Arc<Hub>, config: &ClientConfig) -> Result<Self, String> {
        let tls = TlsConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots(&config.ca_bundle)?)
            .with_no_client_auth();
        Ok(Self { hub, service: config.service.clone(), tls: Arc::new(tls) })
    }

    async fn connect(self, uri: Uri) -> Result<Stream, Failed> {
        let name = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let (host, port) = match &self.service {
            Some((namespace, name, port)) => {
                service_resolver::resolve(&self.hub, namespace, name, *port).map_err(Failed)?
            }
            None => (name.clone(), uri.port_u16().unwrap_or(443)),
        };
        let stream = TcpStream::connect((host.as_str(), port)).await;
        let stream = stream.map_err(|error| Failed(dial_error(&host, port, &error)))?;
        let _ = stream.set_nodelay(true);
        let server = ServerName::try_from(name.clone()).map_err(|error| Failed(error.to_string()))?;
        let stream = TlsConnector::from(self.tls).connect(server, stream).await;
        Ok(Stream(TokioIo::new(stream.map_err(|error| Failed(tls_error(&name, &error)))?)))
    }
}

fn dial_error(host: &str, port: u16, error: &io::Error) -> String {
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let why = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        // The resolver's failures have no errno.
        _ if error.raw_os_error().is_none() => return format!("dial tcp: lookup {host}: no such host"),
        _ => error.to_string(),
    };
    format!("dial tcp {authority}: {why}")
}

fn tls_error(name: &str, error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(inner) = inner else {
        return if error.kind() == io::ErrorKind::UnexpectedEof { "EOF".into() } else { error.to_string() };
    };
    let x509 = match inner {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "certificate signed by unknown authority".to_owned()
            }
            CertificateError::NotValidForName => {
                format!("certificate is not valid for any names, but wanted to match {name}")
            }
            CertificateError::NotValidForNameContext { presented, .. } => {
                format!("certificate is valid for {}, not {name}", presented.join(", "))
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => "certificate has expired or is not yet valid".to_owned(),
            other => other.to_string(),
        },
        rustls::Error::InvalidMessage(_) => {
            return "tls: first record does not look like a TLS handshake".into();
        }
        other => return format!("tls: {other}"),
    };
    format!("tls: failed to verify certificate: x509: {x509}")
}

/// What the innermost error that says something says.
pub fn why(error: &(dyn StdError + 'static)) -> String {
    let mut told = error;
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(failed) = error.downcast_ref::<Failed>() {
            return failed.0.clone();
        }
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message) {
            return "EOF".into();
        }
        told = error;
        current = error.source();
    }
    told.to_string()
}

impl tower_service::Service<Uri> for Connector {
    type Response = Stream;
    type Error = Failed;
    type Future = BoxFuture<'static, Result<Stream, Failed>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A TLS connection.
pub struct Stream(TokioIo<TlsStream<TcpStream>>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Stream {
    fn poll_write(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        std::pin::Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
