//! Discovery: which groups, versions and resources there are, plain and aggregated (`apidiscovery.k8s.io/v2`).

use http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

use crate::aggregator::merge;
use crate::catalog::{Catalog, Resource, Subresource};
use crate::object::meta;
use crate::server::ApiServer;
use crate::status::Status;
use crate::wire::{self, Body};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Answers `/api…` and `/apis…`.
pub fn answer(server: &ApiServer, segments: &[&str], headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let catalog = &*server.catalog();
    if matches!(segments, ["api"] | ["apis"]) && wants_aggregated(headers) {
        let mut list = aggregated(catalog, segments[0] == "api");
        if let (["apis"], Some(items)) = (segments, list["items"].as_array_mut()) {
            let others = server.aggregator().groups(server);
            let others = others.into_iter().map(|group| (group.priority, group.aggregated())).collect();
            merge(items, others, |item| meta(item, "name").to_owned());
        }
        return Ok(tagged(headers, &list));
    }
    let value = match segments {
        ["api"] => json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{
                "clientCIDR": "0.0.0.0/0",
                "serverAddress": format!("{}:{}", server.config().advertise_address, server.config().port),
            }],
        }),
        ["apis"] => {
            let groups = catalog.groups().into_iter().filter(|(g, _)| !g.is_empty()).map(|(g, v)| group(&g, &v));
            let mut groups: Vec<Value> = groups.collect();
            let others = server.aggregator().groups(server).into_iter().filter(|other| !other.available().is_empty());
            let others = others.map(|other| (other.priority, group(&other.name, &other.available()))).collect();
            merge(&mut groups, others, |group| group["name"].as_str().unwrap_or_default().to_owned());
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["apis", name] => {
            let others = || {
                let others = server.aggregator().groups(server).into_iter();
                others.map(|other| (other.name.clone(), other.available())).find(|(g, v)| g == name && !v.is_empty())
            };
            let found = catalog.groups().into_iter().find(|(g, _)| g == name).or_else(others);
            let Some((name, versions)) = found else { return Ok(crate::handle::nothing()) };
            let mut value = group(&name, &versions);
            value["kind"] = "APIGroup".into();
            value["apiVersion"] = "v1".into();
            value
        }
        ["api", version] => resources(catalog, "", version)?,
        ["apis", group, version] => match resources(catalog, group, version) {
            Err(_) if !catalog.groups().iter().any(|(own, _)| own == group) => return Ok(crate::handle::nothing()),
            found => found?,
        },
        _ => return Err(Status::no_such_path()),
    };
    Ok(wire::json(200, &value))
}

/// The paths that `/` lists.
pub fn paths(catalog: &Catalog) -> Value {
    let mut paths: Vec<String> = vec!["/api".into(), "/api/v1".into(), "/apis".into()];
    for (group, versions) in catalog.groups().into_iter().filter(|(g, _)| !g.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|v| format!("/apis/{group}/{v}")));
    }
    paths.extend(
        [
            "/.well-known/openid-configuration",
            "/healthz",
            "/livez",
            "/metrics",
            "/openapi/v2",
            "/openapi/v3",
            "/openid/v1/jwks",
            "/readyz",
            "/version",
        ]
        .map(Into::into),
    );
    json!({"paths": paths})
}

fn wants_aggregated(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).any(|clause| {
        let parts: Vec<&str> = clause.split(';').map(str::trim).collect();
        parts[0] == "application/json"
            && parts.contains(&"g=apidiscovery.k8s.io")
            && parts.contains(&"v=v2")
            && parts.contains(&"as=APIGroupDiscoveryList")
    })
}

fn tagged(headers: &HeaderMap, value: &Value) -> Response<Body> {
    let text = value.to_string();
    let digest = Sha512::digest(text.as_bytes());
    let tag = format!("\"{}\"", digest.iter().map(|b| format!("{b:02X}")).collect::<String>());
    let same = headers.get(IF_NONE_MATCH).is_some_and(|seen| seen.as_bytes() == tag.as_bytes());
    let mut response = wire::respond(200, AGGREGATED, if same { String::new() } else { text });
    if same {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().remove(CONTENT_TYPE);
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

fn group(name: &str, versions: &[String]) -> Value {
    let versions: Vec<Value> =
        versions.iter().map(|v| json!({"groupVersion": format!("{name}/{v}"), "version": v})).collect();
    json!({"name": name, "preferredVersion": versions[0], "versions": versions})
}

fn resources(catalog: &Catalog, group: &str, version: &str) -> Result<Value, Status> {
    let mut list = Vec::new();
    for resource in catalog.of(group, version) {
        let mut entry = json!({
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": resource.verbs,
        });
        if !resource.short_names.is_empty() {
            entry["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            entry["categories"] = json!(resource.categories);
        }
        if !resource.storage.is_empty() {
            entry["storageVersionHash"] = storage_hash(resource).into();
        }
        list.push(entry);
        for sub in &resource.subresources {
            let mut entry = json!({
                "name": format!("{}/{}", resource.plural, sub.name),
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": sub.kind,
                "verbs": sub.verbs,
            });
            if (sub.group.as_str(), sub.version.as_str()) != (group, version) {
                entry["group"] = sub.group.as_str().into();
                entry["version"] = sub.version.as_str().into();
            }
            list.push(entry);
        }
    }
    if list.is_empty() {
        return Err(Status::no_such_path());
    }
    // The oldest of these lists is older than their own version.
    if group.is_empty() {
        return Ok(json!({"kind": "APIResourceList", "groupVersion": version, "resources": list}));
    }
    let group_version = format!("{group}/{version}");
    Ok(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list}))
}

fn storage_hash(resource: &Resource) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let version = resource.storage_version.rsplit('/').next().unwrap_or_default();
    let digest = Sha256::digest(format!("{}/{version}/{}", resource.group, resource.kind));
    STANDARD.encode(&digest[..8])
}

fn aggregated(catalog: &Catalog, core: bool) -> Value {
    let groups = catalog.groups().into_iter().filter(|(g, _)| g.is_empty() == core);
    let items: Vec<Value> = groups
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> = catalog.of(&group, version).map(|r| aggregated_resource(r)).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if group.is_empty() {
                json!({"creationTimestamp": null})
            } else {
                json!({"name": group, "creationTimestamp": null})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_resource(resource: &Resource) -> Value {
    let mut entry = json!({
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    if !resource.subresources.is_empty() {
        entry["subresources"] = resource.subresources.iter().map(aggregated_subresource).collect();
    }
    entry
}

fn aggregated_subresource(sub: &Subresource) -> Value {
    json!({
        "subresource": sub.name,
        "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
        "verbs": sub.verbs,
    })
}
