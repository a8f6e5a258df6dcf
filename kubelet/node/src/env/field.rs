//! `fieldRef` and `resourceFieldRef`: what a container may ask about itself. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

use crate::pod;
use crate::quantity::{milli, whole};

/// What the pod's fields depend on beside the pod.
#[derive(Debug, Clone, Default)]
pub struct FieldContext {
    pub node_name: String,
    pub node_ips: Vec<String>,
    pub pod_ips: Vec<String>,
    /// Thousandths of a processor and bytes that the node can give: the value of a limit that is not set.
    pub allocatable_cpu: i64,
    pub allocatable_memory: i64,
}

/// The value of a `fieldPath`, for variables and for files.
pub fn field(pod: &Pod, path: &str, context: &FieldContext) -> Result<String, String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    if let Some((list, key)) = subscript(path) {
        let map = match list {
            "metadata.annotations" => &pod.metadata.annotations,
            "metadata.labels" => &pod.metadata.labels,
            _ => return Err(format!("fieldPath {path:?} does not support subscript")),
        };
        return Ok(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => text(&pod.metadata.name),
        "metadata.namespace" => text(&pod.metadata.namespace),
        "metadata.uid" => text(&pod.metadata.uid),
        "metadata.labels" => map_lines(pod.metadata.labels.as_ref()),
        "metadata.annotations" => map_lines(pod.metadata.annotations.as_ref()),
        "spec.nodeName" => pod::spec(pod).node_name.clone().unwrap_or_else(|| context.node_name.clone()),
        "spec.serviceAccountName" => text(&pod::spec(pod).service_account_name),
        "spec.restartPolicy" => text(&pod::spec(pod).restart_policy),
        "status.phase" => text(&pod::status(pod).phase),
        "status.hostIP" => context.node_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => context.node_ips.join(","),
        "status.podIP" => context.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => context.pod_ips.join(","),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

fn subscript(path: &str) -> Option<(&str, &str)> {
    let (list, rest) = path.split_once("['")?;
    Some((list, rest.strip_suffix("']")?))
}

/// `key="value"` lines, sorted, as the downward API writes maps.
fn map_lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={}", go_quote(value))).collect();
    lines.join("\n")
}

/// A string in Go's quotes.
fn go_quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The value of a container's request or limit, divided by `divisor` and rounded up.
pub fn resource_field(
    pod: &Pod,
    container: &Container,
    selector: &ResourceFieldSelector,
    context: &FieldContext,
) -> Result<String, String> {
    let container = match selector.container_name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => pod::container(pod, name).ok_or_else(|| format!("container {name} not found"))?,
        None => container,
    };
    let (list, name) = selector.resource.split_once('.').unwrap_or(("", &selector.resource));
    let resources = container.resources.clone().unwrap_or_default();
    let quantity = match list {
        "limits" => resources.limits.as_ref().and_then(|list| list.get(name)).cloned(),
        "requests" => {
            let own = resources.requests.as_ref().and_then(|list| list.get(name));
            own.or(resources.limits.as_ref().and_then(|list| list.get(name))).cloned()
        }
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    let (amount, divisor) = if name == "cpu" {
        let unset = if list == "limits" { context.allocatable_cpu } else { 0 };
        (quantity.as_ref().and_then(milli).unwrap_or(unset), selector.divisor.as_ref().and_then(milli).unwrap_or(0))
    } else {
        let unset = if list == "limits" && name == "memory" { context.allocatable_memory } else { 0 };
        (quantity.as_ref().and_then(whole).unwrap_or(unset), selector.divisor.as_ref().and_then(whole).unwrap_or(0))
    };
    let divisor = match divisor {
        0 if name == "cpu" => 1000,
        0 => 1,
        divisor => divisor,
    };
    Ok(((amount + divisor - 1) / divisor).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": { "name": "a", "labels": { "app": "x", "b": "say \"hi\"" } },
            "spec": { "containers": [{ "name": "c", "resources": { "limits": { "cpu": "1500m", "memory": "64Mi" } } }] },
        }))
        .unwrap()
    }

    #[test]
    fn fields_of_the_pod_are_found_by_path() {
        let context = FieldContext { pod_ips: vec!["10.0.0.1".into()], ..FieldContext::default() };
        let field = |path| field(&pod(), path, &context);
        assert_eq!(field("metadata.labels['app']").unwrap(), "x");
        assert_eq!(field("metadata.labels").unwrap(), "app=\"x\"\nb=\"say \\\"hi\\\"\"");
        assert_eq!(field("status.podIP").unwrap(), "10.0.0.1");
        assert!(field("spec.hostname").is_err());
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let pod = pod();
        let context = FieldContext { allocatable_memory: 1 << 30, ..FieldContext::default() };
        let value = |resource: &str, divisor: &str| {
            let selector = serde_json::json!({ "resource": resource, "divisor": divisor });
            resource_field(&pod, &pod::containers(&pod)[0], &serde_json::from_value(selector).unwrap(), &context)
                .unwrap()
        };
        assert_eq!(value("limits.cpu", "0"), "2");
        assert_eq!(value("limits.cpu", "1m"), "1500");
        assert_eq!(value("requests.memory", "1Mi"), "64");
        assert_eq!(value("limits.ephemeral-storage", "0"), "0");
    }
}
