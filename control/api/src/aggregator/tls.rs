//! How this server speaks to an aggregated one: whom it believes, and how it proves who it is itself.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

use crate::config::{Config, FrontProxy};

/// Of an APIService's spec.
pub(super) fn config(config: &Config, spec: &Value) -> Result<Arc<ClientConfig>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let bundle = STANDARD.decode(spec["caBundle"].as_str().unwrap_or_default()).map_err(|e| text(&e))?;
    let roots = crate::webhook::roots(&bundle)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| text(&e))?
        .with_root_certificates(roots);
    let own = match &config.front_proxy {
        None => builder.with_no_client_auth(),
        Some(FrontProxy { certificate, key, .. }) => {
            let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).filter_map(Result::ok).collect();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| text(&e))?;
            builder.with_client_auth_cert(chain, key).map_err(|e| text(&e))?
        }
    };
    if spec["insecureSkipTLSVerify"] != true {
        return Ok(Arc::new(own));
    }
    let mut anyone = (*orlop_auth::to_anyone().map_err(|e| text(&e))?).clone();
    anyone.client_auth_cert_resolver = own.client_auth_cert_resolver;
    Ok(Arc::new(anyone))
}
