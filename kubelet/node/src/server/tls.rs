//! TLS for the kubelet's API: client certificates of the cluster's CA are verified, and callers without one may show a token.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::KubeletError;

/// The configuration for [`Config::tls`](crate::Config::tls) from PEM: the serving certificate (with its chain), its key, and the
/// CA that signs client certificates.
pub fn server_tls(certificate: &[u8], key: &[u8], ca: &[u8]) -> Result<Arc<rustls::ServerConfig>, KubeletError> {
    let failed = |what: &str, error: &dyn std::fmt::Display| KubeletError::Configuration(format!("{what}: {error}"));
    let chain = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed("the serving certificate", &error))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| failed("the serving key", &error))?;
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(ca) {
        let root = root.map_err(|error| failed("the client CA", &error))?;
        roots.add(root).map_err(|error| failed("the client CA", &error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| failed("the client CA", &error))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed("TLS", &error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| failed("the serving certificate", &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
