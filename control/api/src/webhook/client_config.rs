//! `clientConfig` of a webhook: a URL, or a Service by its name, and whose certificates are believed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Where a webhook is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientConfig {
    url: String,
    /// Namespace, name and port, if it is a Service.
    pub(super) service: Option<(String, String, u16)>,
    /// PEM; empty means the certificates that the system believes.
    pub(super) ca_bundle: Vec<u8>,
}

impl ClientConfig {
    /// Reads `clientConfig`; the error says what is missing.
    pub fn read(config: &Value) -> Result<Self, String> {
        let encoded = config["caBundle"].as_str().unwrap_or_default();
        let ca_bundle = STANDARD.decode(encoded).map_err(|error| format!("caBundle: {error}"))?;
        let service = &config["service"];
        if service.is_object() {
            let text = |field: &str| service[field].as_str().unwrap_or_default().to_owned();
            let (namespace, name) = (text("namespace"), text("name"));
            let port = service["port"].as_u64().and_then(|p| u16::try_from(p).ok()).unwrap_or(443);
            let path = text("path");
            let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
            let url = format!("https://{name}.{namespace}.svc:{port}{slash}{path}");
            return Ok(Self { url, service: Some((namespace, name, port)), ca_bundle });
        }
        match config["url"].as_str() {
            Some(url) if !url.is_empty() => Ok(Self { url: url.to_owned(), service: None, ca_bundle }),
            _ => Err("webhook configuration must have either service or URL".into()),
        }
    }

    /// The URL, of a Service `https://NAME.NAMESPACE.svc:PORT/PATH`.
    pub fn url(&self) -> &str {
        &self.url
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_is_called_by_its_name() {
        let config = json!({"service": {"name": "hook", "namespace": "web", "path": "/check", "port": 8443}});
        let config = ClientConfig::read(&config).unwrap();
        assert_eq!(config.url(), "https://hook.web.svc:8443/check");
        assert_eq!(config.service, Some(("web".into(), "hook".into(), 8443)));
        assert!(ClientConfig::read(&json!({})).is_err());
        assert!(ClientConfig::read(&json!({"url": "https://a", "caBundle": "?"})).is_err());
    }
}
