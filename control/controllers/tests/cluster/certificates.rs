use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::PostParams;
use kube::{Api, Client};
use orlop_auth::user_of_certificate;
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};

use crate::cluster::{Cluster, eventually};

fn request(name: &str, signer: &str, user: &str, group: &str, usages: &[&str]) -> CertificateSigningRequest {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, user);
    params.distinguished_name.push(DnType::OrganizationName, group);
    let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "request": k8s_openapi::ByteString(pem.into_bytes()), "signerName": signer, "usages": usages,
            "expirationSeconds": 3600,
        },
    }))
    .unwrap()
}

fn requests(client: Client) -> Api<CertificateSigningRequest> {
    Api::all(client)
}

async fn decide(cluster: &Cluster, name: &str, kind: &str) {
    let api = requests(cluster.client());
    let mut object = serde_json::to_value(api.get(name).await.unwrap()).unwrap();
    object["status"] = json!({"conditions": [{"type": kind, "status": "True", "reason": "Test"}]});
    let object: CertificateSigningRequest = serde_json::from_value(object).unwrap();
    let decided = api.replace_subresource("approval", name, &PostParams::default(), &object).await.unwrap();
    let condition = &decided.status.unwrap().conditions.unwrap()[0];
    assert!(condition.last_update_time.is_some() && condition.last_transition_time.is_some());
}

async fn seen(cluster: &Cluster, name: &str, what: impl Fn(&Value) -> bool) -> Value {
    let api = requests(cluster.client());
    eventually(async || {
        let object = serde_json::to_value(api.get(name).await.map_err(|e| e.to_string())?).unwrap();
        if what(&object["status"]) { Ok(object) } else { Err(object.to_string()) }
    })
    .await
}

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const USAGES: [&str; 2] = ["digital signature", "client auth"];

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_request_is_signed_and_a_denied_one_is_not() {
    let cluster = Cluster::start().await;
    let api = requests(cluster.client());
    for name in ["yes", "no"] {
        let made = api.create(&PostParams::default(), &request(name, CLIENT, "jane", "dev", &USAGES)).await.unwrap();
        assert_eq!(made.spec.username.as_deref(), Some("admin"));
    }
    decide(&cluster, "no", "Denied").await;
    decide(&cluster, "yes", "Approved").await;
    let signed = seen(&cluster, "yes", |status| !status["certificate"].is_null()).await;
    let signed: CertificateSigningRequest = serde_json::from_value(signed).unwrap();
    let pem = signed.status.unwrap().certificate.unwrap().0;
    let pem = String::from_utf8(pem).unwrap();
    let der = base64_of(&pem);
    let user = user_of_certificate(&der).unwrap();
    assert_eq!(user.name, "jane");
    assert!(user.groups.iter().any(|group| group == "dev"), "{user:?}");
    let denied = serde_json::to_value(api.get("no").await.unwrap()).unwrap();
    assert_eq!(denied["status"]["certificate"], Value::Null);
}

fn base64_of(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let quoted = Value::from(body);
    serde_json::from_value::<k8s_openapi::ByteString>(quoted).unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_its_signer_does_not_sign_fails() {
    let cluster = Cluster::start().await;
    let wrong = request("wrong", CLIENT, "jane", "dev", &["server auth"]);
    requests(cluster.client()).create(&PostParams::default(), &wrong).await.unwrap();
    decide(&cluster, "wrong", "Approved").await;
    let failed = seen(&cluster, "wrong", |status| status["conditions"][1]["type"] == "Failed").await;
    assert_eq!(failed["status"]["conditions"][1]["reason"], "SignerValidationFailure");
}

#[tokio::test(flavor = "multi_thread")]
async fn masters_are_not_made_by_request() {
    let cluster = Cluster::start().await;
    let masters = request("masters", CLIENT, "jane", "system:masters", &USAGES);
    let refused = requests(cluster.client()).create(&PostParams::default(), &masters).await.unwrap_err().to_string();
    assert!(refused.contains("signer with system:masters group is not allowed"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubelet_is_approved_when_its_role_says_so() {
    let cluster = Cluster::start().await;
    let binding = json!({
        "metadata": {"name": "renew"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes"}],
    });
    let bindings = Api::<k8s_openapi::api::rbac::v1::ClusterRoleBinding>::all(cluster.client());
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    let node = cluster.client_of("system:node:a", &["system:nodes", "system:authenticated"]);
    let renewal = request("renewal", KUBELET, "system:node:a", "system:nodes", &USAGES);
    requests(node).create(&PostParams::default(), &renewal).await.unwrap();
    let signed = seen(&cluster, "renewal", |status| !status["certificate"].is_null()).await;
    assert_eq!(signed["status"]["conditions"][0]["reason"], "AutoApproved");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_approve_does_not() {
    let cluster = Cluster::start().await;
    requests(cluster.client())
        .create(&PostParams::default(), &request("r", CLIENT, "jane", "dev", &USAGES))
        .await
        .unwrap();
    let role = json!({
        "metadata": {"name": "half"},
        "rules": [{"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests", "certificatesigningrequests/approval"], "verbs": ["*"]}],
    });
    let roles = Api::<k8s_openapi::api::rbac::v1::ClusterRole>::all(cluster.client());
    roles.create(&PostParams::default(), &serde_json::from_value(role).unwrap()).await.unwrap();
    let binding = json!({
        "metadata": {"name": "half"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "half"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "joe"}],
    });
    let bindings = Api::<k8s_openapi::api::rbac::v1::ClusterRoleBinding>::all(cluster.client());
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    let api = requests(cluster.client_of("joe", &["system:authenticated"]));
    let mut object = serde_json::to_value(api.get("r").await.unwrap()).unwrap();
    object["status"] = json!({"conditions": [{"type": "Approved", "status": "True"}]});
    let object: CertificateSigningRequest = serde_json::from_value(object).unwrap();
    let refused =
        api.replace_subresource("approval", "r", &PostParams::default(), &object).await.unwrap_err().to_string();
    assert!(
        refused
            .contains("user not permitted to approve requests with signerName \"kubernetes.io/kube-apiserver-client\""),
        "{refused}"
    );
}
