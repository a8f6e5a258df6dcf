//! `imagePullSecrets`: the registry credentials of a pod, in Docker's formats.

use base64::Engine;
use k8s_openapi::api::core::v1::Pod;
use orlop_cri::v1::AuthConfig;
use serde_json::Value;

use crate::objects::Objects;
use crate::pod;

/// The first of the pod's credentials that fits the image's registry.
pub async fn credentials(objects: &Objects, pod: &Pod, image: &str) -> Option<AuthConfig> {
    for reference in pod::spec(pod).image_pull_secrets.iter().flatten() {
        let Ok(Some(secret)) = objects.secret(pod::namespace(pod), &reference.name, false).await else { continue };
        let config = secret.get(".dockerconfigjson").or_else(|| secret.get(".dockercfg"));
        let Some(config) = config.and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok()) else { continue };
        if let Some(auth) = find(&config, image) {
            return Some(auth);
        }
    }
    None
}

fn find(config: &Value, image: &str) -> Option<AuthConfig> {
    let entries = config.get("auths").unwrap_or(config).as_object()?;
    let registry = registry(image);
    entries.iter().find(|(key, _)| host(key) == registry).map(|(key, entry)| auth(key, entry))
}

/// The registry of an image: its first part if that looks like a host, Docker Hub otherwise.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "index.docker.io",
    }
}

fn host(key: &str) -> &str {
    let key = key.trim_start_matches("https://").trim_start_matches("http://");
    let host = key.split('/').next().unwrap_or(key);
    if host == "docker.io" { "index.docker.io" } else { host }
}

fn auth(server: &str, entry: &Value) -> AuthConfig {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (mut username, mut password) = (text("username"), text("password"));
    if username.is_empty() {
        let decoded = base64::engine::general_purpose::STANDARD.decode(text("auth")).unwrap_or_default();
        if let Some((name, secret)) = String::from_utf8_lossy(&decoded).split_once(':') {
            (username, password) = (name.to_owned(), secret.to_owned());
        }
    }
    AuthConfig {
        username,
        password,
        server_address: server.to_owned(),
        identity_token: text("identitytoken"),
        ..AuthConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_by_the_images_registry() {
        let config = serde_json::json!({ "auths": {
            "https://index.docker.io/v1/": { "auth": "YTpi" },
            "registry.example.com:5000": { "username": "u", "password": "p" },
        }});
        let hub = find(&config, "library/web:v1").unwrap();
        assert_eq!((hub.username.as_str(), hub.password.as_str()), ("a", "b"));
        assert_eq!(find(&config, "registry.example.com:5000/x/web").unwrap().username, "u");
        assert!(find(&config, "other.example.com/web").is_none());
    }
}
