//! What aggregated servers read to know whom to believe: the ConfigMap `extension-apiserver-authentication`, and the Role that
//! lets them read it.

use serde_json::{Value, json};

use crate::config::Config;

const NAME: &str = "extension-apiserver-authentication";
const READER: &str = "extension-apiserver-authentication-reader";
const RBAC: &str = "rbac.authorization.k8s.io";

/// The objects.
pub(super) fn objects(config: &Config) -> Vec<Value> {
    let metadata = |name: &str| {
        json!({
            "name": name, "namespace": "kube-system",
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        })
    };
    let mut data = json!({"client-ca-file": config.ca_pem});
    if let Some(front_proxy) = &config.front_proxy {
        data["requestheader-client-ca-file"] = front_proxy.ca.as_str().into();
        data["requestheader-allowed-names"] = "[\"front-proxy-client\"]".into();
        data["requestheader-username-headers"] = "[\"X-Remote-User\"]".into();
        data["requestheader-uid-headers"] = "[\"X-Remote-Uid\"]".into();
        data["requestheader-group-headers"] = "[\"X-Remote-Group\"]".into();
        data["requestheader-extra-headers-prefix"] = "[\"X-Remote-Extra-\"]".into();
    }
    let users = ["system:kube-controller-manager", "system:kube-scheduler"];
    vec![
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": {"name": NAME, "namespace": "kube-system"},
        }),
        json!({
            "apiVersion": format!("{RBAC}/v1"), "kind": "Role", "metadata": metadata(READER),
            "rules": [{
                "verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["configmaps"],
                "resourceNames": [NAME],
            }],
        }),
        json!({
            "apiVersion": format!("{RBAC}/v1"), "kind": "RoleBinding", "metadata": metadata(&format!("system::{READER}")),
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": READER},
            "subjects": users.map(|user| json!({"kind": "User", "apiGroup": RBAC, "name": user})),
        }),
    ]
}
