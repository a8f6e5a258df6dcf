//! `DefaultTolerationSeconds`: a pod stays five minutes on a node that stopped answering, unless it says otherwise.

use serde_json::{Value, json};

const SECONDS: i64 = 300;

pub(super) fn mutate(pod: &mut Value) {
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerations = pod["spec"]["tolerations"].as_array();
        let tolerated = tolerations.is_some_and(|list| {
            list.iter().any(|t| {
                let matches_key = t["key"] == key || t["key"].as_str().unwrap_or_default().is_empty();
                let matches_effect = t["effect"] == "NoExecute" || t["effect"].as_str().unwrap_or_default().is_empty();
                matches_key && matches_effect
            })
        });
        if tolerated {
            continue;
        }
        let toleration = json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS});
        match pod["spec"]["tolerations"].as_array_mut() {
            Some(list) => list.push(toleration),
            None => pod["spec"]["tolerations"] = json!([toleration]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_tolerates_everything_gets_nothing_more() {
        let mut pod = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        mutate(&mut pod);
        assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 1);
        let mut pod = json!({"spec": {}});
        mutate(&mut pod);
        assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 2);
    }
}
