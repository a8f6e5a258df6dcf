//! `ServiceAccount`: every pod runs as an account of its namespace, and sees that account's token unless it refuses
//! (`plugin/pkg/admission/serviceaccount`).

use std::time::Duration;

use serde_json::{Value, json};

use crate::object::meta;
use crate::rest::{Call, random_suffix};
use crate::status::Status;

const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// An hour, and a little so that kubelets can tell these tokens apart (kube-apiserver's figure).
const TOKEN_SECONDS: i64 = 3607;
/// What the names of these volumes begin with.
const VOLUME: &str = "kube-api-access-";
const MIRROR: &str = "kubernetes.io/config.mirror";
/// The default account of a new namespace is made by a controller: it is waited for so many times.
const ATTEMPTS: usize = 10;
const INTERVAL: Duration = Duration::from_millis(200);

pub(super) async fn mutate(call: &Call, pod: &mut Value) -> Result<(), Status> {
    if pod["metadata"]["annotations"].get(MIRROR).is_some() {
        return match pod["spec"]["serviceAccountName"].as_str() {
            None | Some("") => Ok(()),
            Some(_) => Err(forbidden(pod, "a mirror pod may not reference service accounts")),
        };
    }
    let account_name = match pod["spec"]["serviceAccountName"].as_str() {
        None | Some("") => "default".to_owned(),
        Some(name) => name.to_owned(),
    };
    pod["spec"]["serviceAccountName"] = account_name.as_str().into();
    pod["spec"]["serviceAccount"] = account_name.as_str().into();
    let namespace = call.namespace();
    let account = account(call, namespace, &account_name).await?.ok_or_else(|| {
        let why = format!(
            "error looking up service account {namespace}/{account_name}: serviceaccount \"{account_name}\" not found"
        );
        forbidden(pod, &why)
    })?;
    let mounts = pod["spec"]["automountServiceAccountToken"]
        .as_bool()
        .or(account["automountServiceAccountToken"].as_bool())
        .unwrap_or(true);
    if mounts {
        mount_token(pod);
    }
    if pod["spec"]["imagePullSecrets"].as_array().is_none_or(Vec::is_empty)
        && account["imagePullSecrets"].as_array().is_some_and(|s| !s.is_empty())
    {
        pod["spec"]["imagePullSecrets"] = account["imagePullSecrets"].clone();
    }
    Ok(())
}

async fn account(call: &Call, namespace: &str, name: &str) -> Result<Option<Value>, Status> {
    let registry = call.server.registry();
    let Some(cache) = registry.hub().cache_at("serviceaccounts") else { return Ok(None) };
    for attempt in 0..if name == "default" { ATTEMPTS } else { 1 } {
        if attempt > 0 {
            tokio::time::sleep(INTERVAL).await;
        }
        if let Some(found) = registry.get(&cache, namespace, name).await? {
            return Ok(Some(found.value()));
        }
    }
    Ok(None)
}

fn forbidden(pod: &Value, why: &str) -> Status {
    let name = meta(pod, "name");
    Status::forbidden("", "pods", if name.is_empty() { meta(pod, "generateName") } else { name }, why)
}

/// Adds the projected volume with token, CA and namespace, and mounts it into every container that mounts nothing there.
fn mount_token(pod: &mut Value) {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let own = volumes.filter_map(|v| v["name"].as_str()).find(|name| name.starts_with(VOLUME)).map(str::to_owned);
    let exists = own.is_some();
    let name = own.unwrap_or_else(|| format!("{VOLUME}{}", random_suffix()));
    let mut used = false;
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            let mounts = container["volumeMounts"].as_array();
            if mounts.is_some_and(|m| m.iter().any(|m| m["mountPath"] == TOKEN_PATH)) {
                continue;
            }
            let mount = json!({"name": name, "readOnly": true, "mountPath": TOKEN_PATH});
            match container["volumeMounts"].as_array_mut() {
                Some(mounts) => mounts.push(mount),
                None => container["volumeMounts"] = json!([mount]),
            }
            used = true;
        }
    }
    // An absent list must stay absent: indexing it mutably made it null.
    if let Some(spec) = pod["spec"].as_object_mut() {
        spec.retain(|key, value| key != "initContainers" || !value.is_null());
    }
    if !used || exists {
        return;
    }
    let volume = json!({
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [
                    {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
                ]}},
            ],
            "defaultMode": 420,
        },
    });
    match pod["spec"]["volumes"].as_array_mut() {
        Some(volumes) => volumes.push(volume),
        None => pod["spec"]["volumes"] = json!([volume]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_that_mounts_its_own_token_is_left_alone() {
        let own = json!([{"name": "mine", "mountPath": TOKEN_PATH}]);
        let mut pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "volumeMounts": own}]}});
        mount_token(&mut pod);
        let volume = &pod["spec"]["volumes"][0]["name"];
        assert!(volume.as_str().unwrap().starts_with("kube-api-access-"));
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["name"], *volume);
        assert_eq!(pod["spec"]["containers"][1]["volumeMounts"], own);
        assert!(pod["spec"].get("initContainers").is_none());
    }
}
