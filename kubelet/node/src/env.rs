//! A container's environment: service variables, `envFrom`, `env`, and `$(VAR)` expansion. Pure.

mod expand;
mod field;
mod service;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};

pub use expand::{Variables, expand};
pub use field::{FieldContext, field, resource_field};
pub use service::{ServiceView, service_variables};

/// ConfigMaps and Secrets that the container refers to, by name; what is absent is absent in the cluster.
#[derive(Debug, Clone, Default)]
pub struct References {
    pub config_maps: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    pub secrets: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
}

/// The environment of one container, in the order in which it is to be set. The error is Kubernetes' text for the status.
pub fn environment(
    pod: &Pod,
    container: &Container,
    services: Vec<(String, String)>,
    references: &References,
    context: &FieldContext,
) -> Result<Variables, String> {
    let mut variables = Variables::default();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let (source, name, optional, kind) = if let Some(source) = &from.config_map_ref {
            (references.config_maps.get(&source.name), &source.name, source.optional, "configmap")
        } else if let Some(source) = &from.secret_ref {
            (references.secrets.get(&source.name), &source.name, source.optional, "secret")
        } else {
            continue;
        };
        match source {
            Some(data) => {
                for (key, value) in data {
                    if is_variable_name(&format!("{prefix}{key}")) {
                        variables.set(format!("{prefix}{key}"), String::from_utf8_lossy(value).into_owned());
                    }
                }
            }
            None if optional == Some(true) => {}
            None => return Err(format!("{kind} \"{name}\" not found")),
        }
    }
    // $(VAR) sees what stands before it, and service variables when nothing else has the name.
    let services: Variables = services.into_iter().collect();
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (_, Some(from)) => {
                if let Some(reference) = &from.field_ref {
                    Some(field(pod, &reference.field_path, context)?)
                } else if let Some(reference) = &from.resource_field_ref {
                    Some(resource_field(pod, container, reference, context)?)
                } else if let Some(reference) = &from.config_map_key_ref {
                    let data = references.config_maps.get(&reference.name);
                    let named =
                        Key { kind: "configmap", shown: "ConfigMap", name: &reference.name, key: &reference.key };
                    lookup(pod, data, &named, reference.optional)?
                } else if let Some(reference) = &from.secret_key_ref {
                    let data = references.secrets.get(&reference.name);
                    let named = Key { kind: "secret", shown: "Secret", name: &reference.name, key: &reference.key };
                    lookup(pod, data, &named, reference.optional)?
                } else {
                    return Err(format!("env {:?} has a source that this kubelet does not support", variable.name));
                }
            }
            (Some(value), None) => Some(expand(value, &variables.clone().over(&services))),
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            variables.set(variable.name.clone(), value);
        }
    }
    for (name, value) in services.iter() {
        if !variables.contains(name) {
            variables.set(name.clone(), value.clone());
        }
    }
    Ok(variables)
}

struct Key<'a> {
    kind: &'a str,
    shown: &'a str,
    name: &'a str,
    key: &'a str,
}

fn lookup(
    pod: &Pod,
    data: Option<&BTreeMap<String, Vec<u8>>>,
    Key { kind, shown, name, key }: &Key<'_>,
    optional: Option<bool>,
) -> Result<Option<String>, String> {
    match (data, optional == Some(true)) {
        (Some(data), optional) => match data.get(*key) {
            Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
            None if optional => Ok(None),
            None => Err(format!("couldn't find key {key} in {shown} {}/{name}", crate::pod::namespace(pod))),
        },
        (None, true) => Ok(None),
        (None, false) => Err(format!("{kind} \"{name}\" not found")),
    }
}

/// Any printable ASCII but `=`, as Kubernetes takes since 1.32.
fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(value: serde_json::Value) -> Container {
        serde_json::from_value(value).unwrap()
    }

    fn resolve(value: serde_json::Value, references: &References) -> Result<Variables, String> {
        let services = vec![("WEB_SERVICE_HOST".to_owned(), "10.96.0.7".to_owned())];
        environment(&Pod::default(), &container(value), services, references, &FieldContext::default())
    }

    #[test]
    fn variables_expand_what_stands_before_them_and_service_variables() {
        let env = serde_json::json!({ "name": "c", "env": [
            { "name": "A", "value": "1" },
            { "name": "B", "value": "$(A)-$(WEB_SERVICE_HOST)-$(LATER)-$$(A)" },
            { "name": "LATER", "value": "x" },
        ]});
        let variables = resolve(env, &References::default()).unwrap();
        assert_eq!(variables.get("B"), Some("1-10.96.0.7-$(LATER)-$(A)"));
        assert_eq!(variables.get("WEB_SERVICE_HOST"), Some("10.96.0.7"));
    }

    #[test]
    fn what_is_not_there_stops_the_container_unless_it_is_optional() {
        let env = |optional: bool| {
            let source = serde_json::json!({ "configMapKeyRef": { "name": "m", "key": "k", "optional": optional } });
            serde_json::json!({ "name": "c", "env": [{ "name": "A", "valueFrom": source }] })
        };
        assert_eq!(resolve(env(false), &References::default()).unwrap_err(), "configmap \"m\" not found");
        assert_eq!(resolve(env(true), &References::default()).unwrap().get("A"), None);
        let mut references = References::default();
        references.config_maps.insert("m".into(), BTreeMap::new());
        assert_eq!(resolve(env(false), &references).unwrap_err(), "couldn't find key k in ConfigMap default/m");
    }

    #[test]
    fn env_wins_over_env_from() {
        let mut references = References::default();
        references
            .secrets
            .insert("s".into(), [("A".to_owned(), b"secret".to_vec()), ("B".to_owned(), b"b".to_vec())].into());
        let env = serde_json::json!({ "name": "c", "envFrom": [{ "secretRef": { "name": "s" }, "prefix": "P_" }, { "secretRef": { "name": "s" } }],
            "env": [{ "name": "A", "value": "own" }] });
        let variables = resolve(env, &references).unwrap();
        assert_eq!((variables.get("A"), variables.get("P_B")), (Some("own"), Some("b")));
    }
}
