//! kubeconfig files (`clientcmd.k8s.io/v1` Config) with everything inline.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{ClusterPki, PkiError, Subject, Usage, files};

/// Writes a kubeconfig for `subject`, with a client certificate signed on the spot, that reaches the API server at `server`
/// (`https://host:port`). JSON, which every YAML reader takes. Mode 0600.
pub fn kubeconfig(
    pki: &ClusterPki,
    cluster: &str,
    server: &str,
    subject: &Subject,
    path: &Path,
) -> Result<(), PkiError> {
    let issued = pki.ca().issue(subject, &Usage::Client)?;
    let context = format!("{}@{cluster}", subject.common_name);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {
            "server": server,
            "certificate-authority-data": STANDARD.encode(pki.ca().certificate()),
        }}],
        "users": [{"name": subject.common_name, "user": {
            "client-certificate-data": STANDARD.encode(&issued.certificate),
            "client-key-data": STANDARD.encode(&issued.key),
        }}],
        "contexts": [{"name": context, "context": {"cluster": cluster, "user": subject.common_name}}],
        "current-context": context,
    });
    files::write_private(path, &format!("{config:#}\n"))
}
