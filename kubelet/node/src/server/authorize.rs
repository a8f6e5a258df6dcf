//! Who may ask the kubelet what. TLS has verified the client certificate against the cluster's CA; the API server says what its
//! owner may do with this Node. Nobody is anonymous here.

use http::Method;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use orlop_auth::UserInfo;
use rustls_pki_types::CertificateDer;

use crate::kubelet::Kubelet;

/// Members need not be asked about: the API server is one of them when it asks for a pod's log.
const MASTERS: &str = "system:masters";

/// The owner of a connection.
#[derive(Debug, Clone)]
pub struct Caller(Option<UserInfo>);

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    Unauthorized,
    Forbidden(String),
    /// The API server could not be asked.
    Unknown(String),
}

impl Caller {
    /// The one whom the connection's certificate names.
    pub fn of(certificate: Option<&CertificateDer<'_>>) -> Self {
        Self(certificate.and_then(|certificate| orlop_auth::user_of_certificate(certificate)))
    }

    /// Lets the request pass or says why not.
    pub async fn check(&self, kubelet: &Kubelet, method: &Method, path: &str) -> Result<(), Refusal> {
        let Some(user) = &self.0 else { return Err(Refusal::Unauthorized) };
        if user.groups.iter().any(|group| group == MASTERS) {
            return Ok(());
        }
        let (verb, subresource) = (verb(method), subresource(path));
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                groups: Some(user.groups.clone()),
                uid: Some(user.uid.clone()).filter(|uid| !uid.is_empty()),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.to_owned()),
                    version: Some("v1".into()),
                    resource: Some("nodes".into()),
                    subresource: Some(subresource.to_owned()),
                    name: Some(kubelet.config.node_name.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(kubelet.config.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        match answer.map(|review| review.status.unwrap_or_default().allowed) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refusal::Forbidden(format!(
                "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{subresource}])\n",
                user.name
            ))),
            Err(error) => Err(Refusal::Unknown(format!("Authorization error (user={}): {error}", user.name))),
        }
    }
}

fn verb(method: &Method) -> &'static str {
    match method.as_str() {
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "get",
    }
}

/// What of the Node a path belongs to, as Kubernetes maps it.
fn subresource(path: &str) -> &'static str {
    match path.split('/').nth(1).unwrap_or_default() {
        "stats" => "stats",
        "metrics" => "metrics",
        "logs" => "log",
        "checkpoint" => "checkpoint",
        "healthz" => "healthz",
        "pods" | "runningpods" => "pods",
        "configz" => "configz",
        _ => "proxy",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_belong_to_subresources_of_the_node() {
        for (path, expected) in
            [("/pods", "pods"), ("/metrics/cadvisor", "metrics"), ("/containerLogs/a/b/c", "proxy"), ("/", "proxy")]
        {
            assert_eq!(subresource(path), expected, "{path}");
        }
    }
}
