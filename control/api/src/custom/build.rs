//! From a definition to the resources that it asks for.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use orlop_kinds::custom::{JsonPath, Rules, Scale};
use orlop_schema::GroupVersionKind;
use orlop_schema::apply::Replicas;
use orlop_schema::structural::{CustomType, Structural, overlay};
use serde_json::Value;

use super::conversion::Conversion;
use super::{Custom, columns};
use crate::catalog::{Resource, Subresource, newest_first};

/// As kube-apiserver lists them for custom resources.
const VERBS: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// The served versions of a definition whose names are accepted, the one that clients should prefer first. The resource in which
/// objects are stored is returned too, whether it is served or not.
pub fn resources(definition: &Value, terminating: &Arc<AtomicBool>) -> Option<(Arc<Resource>, Vec<Arc<Resource>>)> {
    let spec = &definition["spec"];
    let mut versions: Vec<&Value> = spec["versions"].as_array()?.iter().collect();
    versions.sort_by(|a, b| newest_first(text(&a["name"]), text(&b["name"])));
    let storage = versions.iter().find(|v| v["storage"] == true)?;
    let storage_version = format!("{}/{}", text(&spec["group"]), text(&storage["name"]));
    let mut indexed: Vec<(String, JsonPath)> = Vec::new();
    for field in versions.iter().flat_map(|version| selectable(version)) {
        if !indexed.contains(&field) {
            indexed.push(field);
        }
    }
    let indexed: Arc<[(String, JsonPath)]> = indexed.into();
    let replicas = versions.iter().fold(Replicas::default(), |known, version| {
        let path = version["subresources"]["scale"]["specReplicasPath"].as_str();
        let names = path.and_then(|path| Some(JsonPath::parse(path)?.names()?.into_iter().map(Into::into).collect()));
        known.with(&format!("{}/{}", text(&spec["group"]), text(&version["name"])), names)
    });
    let shared = Shared { storage_version: &storage_version, indexed: &indexed, replicas: &replicas, terminating };
    let make = |version: &Value| resource(definition, version, &shared);
    let stored = make(storage);
    let served = versions
        .iter()
        .filter(|v| v["served"] == true)
        .map(|v| if std::ptr::eq(*v, *storage) { stored.clone() } else { make(v) })
        .collect();
    Some((stored, served))
}

/// What all versions of a definition have in common.
struct Shared<'a> {
    storage_version: &'a str,
    indexed: &'a Arc<[(String, JsonPath)]>,
    replicas: &'a Replicas,
    terminating: &'a Arc<AtomicBool>,
}

fn resource(definition: &Value, version: &Value, shared: &Shared<'_>) -> Arc<Resource> {
    let spec = &definition["spec"];
    let names = &definition["status"]["acceptedNames"];
    let (group, name) = (text(&spec["group"]), text(&version["name"]));
    let kind = GroupVersionKind::new(group, name, text(&names["kind"]));
    let namespaced = spec["scope"] == "Namespaced";
    let raw = Some(&version["schema"]["openAPIV3Schema"]).filter(|s| s.is_object());
    // What was accepted before this server's rules has no structure: then everything is kept.
    let structural = raw.and_then(|raw| Structural::parse(raw).ok());
    let structural = structural.unwrap_or_else(|| Structural {
        preserve_unknown: true,
        ty: "object".into(),
        ..Structural::default()
    });
    let subresources = &version["subresources"];
    let status = subresources["status"].is_object();
    let scale = subresources["scale"].is_object().then(|| Scale {
        spec: text(&subresources["scale"]["specReplicasPath"]).into(),
        status: text(&subresources["scale"]["statusReplicasPath"]).into(),
        selector: subresources["scale"]["labelSelectorPath"].as_str().filter(|p| !p.is_empty()).map(Into::into),
    });
    let selected: Vec<(String, JsonPath)> = selectable(version).collect();
    let schema = overlay(&CustomType {
        selectable: selected.iter().map(|(path, _)| path.as_str()).collect(),
        kind: kind.clone(),
        list_kind: text(&names["listKind"]),
        plural: text(&names["plural"]),
        singular: text(&names["singular"]),
        namespaced,
        status,
        scale: scale.is_some(),
        structural: Some(&structural),
        schema: raw,
    });
    let verbs = ["get", "patch", "update"].map(String::from).to_vec();
    let mut served = Vec::new();
    if status {
        served.push(Subresource {
            name: "status".into(),
            group: group.into(),
            version: name.into(),
            kind: kind.kind.to_string(),
            verbs: verbs.clone(),
        });
    }
    if scale.is_some() {
        served.push(Subresource {
            name: "scale".into(),
            group: "autoscaling".into(),
            version: "v1".into(),
            kind: "Scale".into(),
            verbs,
        });
    }
    let warning = (version["deprecated"] == true).then(|| match version["deprecationWarning"].as_str() {
        Some(words) => words.to_owned(),
        None => deprecation(spec, group, name, &kind.kind),
    });
    Arc::new(Resource {
        group: group.into(),
        version: name.into(),
        plural: text(&names["plural"]).into(),
        singular: text(&names["singular"]).into(),
        kind: kind.kind.to_string(),
        namespaced,
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        verbs: VERBS.map(String::from).to_vec(),
        subresources: served,
        storage: format!("{group}/{}", text(&names["plural"])),
        storage_version: shared.storage_version.into(),
        custom: Some(Arc::new(Custom {
            list_kind: text(&names["listKind"]).into(),
            status,
            scale,
            warning,
            kind,
            structural,
            schema,
            expressions: raw.and_then(Rules::new),
            columns: columns::of(version),
            selectable: selected,
            indexed: shared.indexed.clone(),
            replicas: shared.replicas.clone(),
            terminating: shared.terminating.clone(),
            conversion: Conversion::of(definition),
        })),
    })
}

/// `stable.example.com/v1alpha1 CronTab is deprecated; use stable.example.com/v1 CronTab`
fn deprecation(spec: &Value, group: &str, version: &str, kind: &str) -> String {
    let mut better: Vec<&str> = spec["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|v| v["served"] == true && v["deprecated"] != true)
        .map(|v| text(&v["name"]))
        .filter(|name| newest_first(name, version).is_lt())
        .collect();
    better.sort_by(|a, b| newest_first(a, b));
    let instead = better.first().map(|name| format!("; use {group}/{name} {kind}")).unwrap_or_default();
    format!("{group}/{version} {kind} is deprecated{instead}")
}

fn selectable(version: &Value) -> impl Iterator<Item = (String, JsonPath)> {
    version["selectableFields"].as_array().into_iter().flatten().filter_map(|field| {
        let path = field["jsonPath"].as_str()?;
        Some((path.trim_start_matches('.').to_owned(), JsonPath::parse(path)?))
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(Into::into)).collect()
}
