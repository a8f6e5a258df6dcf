//! Who may ask the kubelet what. TLS has verified the client certificate against the cluster's CA; for a bearer token the API
//! server says whose it is (TokenReview), and for everybody what they may do with this Node (SubjectAccessReview). Nobody is
//! anonymous here.

use http::{Method, Request};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use orlop_auth::UserInfo;
use rustls_pki_types::CertificateDer;

use crate::kubelet::Kubelet;
use crate::within::{CALL, within};

/// Members need not be asked about: the API server is one of them when it asks for a pod's log.
const MASTERS: &str = "system:masters";

/// Whom the certificate of a connection names, if it has one.
#[derive(Debug, Clone)]
pub struct Certified(Option<UserInfo>);

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    Unauthorized,
    Forbidden(String),
    /// The API server could not be asked.
    Unknown(String),
}

impl Certified {
    /// The one whom the connection's certificate names.
    pub fn of(certificate: Option<&CertificateDer<'_>>) -> Self {
        Self(certificate.and_then(|certificate| orlop_auth::user_of_certificate(certificate)))
    }
}

/// Lets the request pass or says why not.
pub async fn check<B>(kubelet: &Kubelet, owner: &Certified, request: &Request<B>) -> Result<(), Refusal> {
    let user = match (&owner.0, bearer(request)) {
        (Some(user), _) => user.clone(),
        (None, Some(token)) => review_token(kubelet, token).await?,
        (None, None) => return Err(Refusal::Unauthorized),
    };
    if user.groups.iter().any(|group| group == MASTERS) {
        return Ok(());
    }
    let (verb, subresource) = (verb(request.method()), subresource(request.uri().path()));
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
    let answer = within(CALL, api.create(&PostParams::default(), &review)).await;
    match answer.map(|review| review.status.unwrap_or_default().allowed) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Refusal::Forbidden(format!(
            "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{subresource}])\n",
            user.name
        ))),
        Err(error) => Err(Refusal::Unknown(format!("Authorization error (user={}): {error}", user.name))),
    }
}

fn bearer<B>(request: &Request<B>) -> Option<&str> {
    let header = request.headers().get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

async fn review_token(kubelet: &Kubelet, token: &str) -> Result<UserInfo, Refusal> {
    let review = TokenReview {
        spec: TokenReviewSpec { token: token.to_owned(), ..TokenReviewSpec::default() },
        ..TokenReview::default()
    };
    let api: Api<TokenReview> = Api::all(kubelet.config.client.clone());
    let answer = within(CALL, api.create(&PostParams::default(), &review)).await;
    let status = answer.map_err(|error| Refusal::Unknown(format!("Authentication error: {error}")))?.status;
    let status = status.filter(|status| status.authenticated == Some(true)).ok_or(Refusal::Unauthorized)?;
    let user = status.user.unwrap_or_default();
    let mut known = UserInfo::new(user.username.unwrap_or_default(), user.groups.unwrap_or_default());
    known.uid = user.uid.unwrap_or_default();
    Ok(known)
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
