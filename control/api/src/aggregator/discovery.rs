//! What aggregated servers serve, as discovery shows it beside what this server serves: groups, and resources in the aggregated
//! form made from the plain one.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use http::Response;
use serde_json::{Value, json};

use super::{Aggregator, Route, Routes, local};
use crate::server::ApiServer;
use crate::status::Status;
use crate::wire::{self, Body};

/// What one of them said of itself.
pub struct Discovered {
    /// `APIResourceList` of its version.
    pub resources: Value,
    /// The index of its OpenAPI v3 documents; null if it has none.
    pub open_api: Value,
    /// Its part of the v2 document.
    pub open_api_v2: Arc<OldDocument>,
}

/// What one of them says in OpenAPI v2.
pub struct OldDocument {
    /// Of its group and version; null if it says nothing.
    pub part: Arc<Value>,
    /// The hash of the same in v3.
    pub hash: String,
    /// When it was asked.
    pub asked: Instant,
}

impl Discovered {
    /// What it says in v2, if it knows no v3.
    fn old(&self) -> Option<&OldDocument> {
        let old = self.open_api.is_null() && self.open_api_v2.part["paths"].as_object().is_some_and(|p| !p.is_empty());
        old.then_some(&*self.open_api_v2)
    }
}

/// A group that others serve, with its versions in order of preference.
pub struct Group {
    /// The group.
    pub name: String,
    /// Versions, and what was discovered of each; a version whose server does not answer now is stale.
    pub versions: Vec<Version>,
    /// Where it stands among all groups: before those of a lower number.
    pub priority: i64,
}

/// One version of a [`Group`].
pub struct Version {
    /// The version.
    pub name: String,
    /// Whether its server answers.
    pub available: bool,
    discovered: Option<Arc<Discovered>>,
    priority: i64,
}

impl Aggregator {
    /// Keeps what a server said.
    pub(super) fn learned(&self, route: &Route, discovered: Discovered) {
        let mut known = self.discovered.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(route.name.clone(), Arc::new(discovered));
    }

    /// What it said last.
    pub(super) fn known(&self, route: &Route) -> Option<Arc<Discovered>> {
        self.discovered.lock().unwrap_or_else(PoisonError::into_inner).get(&route.name).cloned()
    }

    /// Forgets those that are no more.
    pub(super) fn forget(&self, routes: &Routes) {
        let mut known = self.discovered.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|name, _| routes.values().any(|route| route.name == *name));
    }

    /// Groups that others serve and this server does not.
    pub fn groups(&self, server: &ApiServer) -> Vec<Group> {
        let routes = self.routes(server);
        if routes.is_empty() {
            return Vec::new();
        }
        let own: Vec<String> = server.catalog().groups().into_iter().map(|(group, _)| group).collect();
        let known = self.discovered.lock().unwrap_or_else(PoisonError::into_inner);
        let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
        for route in routes.values().filter(|route| !own.contains(&route.group)) {
            let group = groups.entry(&route.group).or_insert_with(|| Group {
                name: route.group.clone(),
                versions: Vec::new(),
                priority: 0,
            });
            group.priority = group.priority.max(route.group_priority);
            group.versions.push(Version {
                name: route.version.clone(),
                available: route.available,
                discovered: known.get(&route.name).cloned(),
                priority: route.version_priority,
            });
        }
        let mut groups: Vec<Group> = groups.into_values().collect();
        for group in &mut groups {
            group.versions.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| b.name.cmp(&a.name)));
        }
        groups.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.name.cmp(&b.name)));
        groups
    }

    /// The parts of others in the OpenAPI v2 document, those of the highest priority first.
    pub fn open_api_v2(&self, server: &ApiServer) -> Vec<Arc<Value>> {
        let versions = self.groups(server).into_iter().flat_map(|group| group.versions);
        versions.filter_map(|version| Some(version.discovered?.open_api_v2.part.clone())).collect()
    }

    /// What a server that knows OpenAPI v2 alone says of a group and version.
    pub(super) fn old_part(&self, server: &ApiServer, group: &str, version: &str) -> Option<Arc<Value>> {
        let route = self.routes(server).get(&(group.to_owned(), version.to_owned())).cloned()?;
        self.known(&route)?.old().map(|old| old.part.clone())
    }

    /// Paths of OpenAPI v3 documents of others, with their hashes.
    fn open_api(&self, server: &ApiServer) -> Vec<(String, String)> {
        let mut documents = Vec::new();
        for group in self.groups(server) {
            for version in group.versions {
                let path = format!("apis/{}/{}", group.name, version.name);
                let Some(discovered) = version.discovered else { continue };
                let url = discovered.open_api["paths"][&path]["serverRelativeURL"].as_str();
                let hash = url.and_then(|url| url.split_once("hash=")).map(|(_, hash)| hash);
                let hash = hash.or_else(|| discovered.old().map(|old| old.hash.as_str()));
                if let Some(hash) = hash {
                    documents.push((path, hash.to_owned()));
                }
            }
        }
        documents
    }
}

/// The index of OpenAPI v3 documents with those of others, or the document of one that knows v2 alone; any other answer as it is.
pub async fn with_others(server: &ApiServer, path: &[&str], own: Response<Body>) -> Result<Response<Body>, Status> {
    if let ["v3", "apis", group, version] = path
        && let Some(part) = server.aggregator().old_part(server, group, version)
    {
        let convert = move || orlop_schema::openapi::v3::converted(&part).0;
        let document = tokio::task::spawn_blocking(convert).await.map_err(Status::internal)?;
        return Ok(wire::respond(200, "application/json", document));
    }
    let others = server.aggregator().open_api(server);
    if path != ["v3"] || others.is_empty() {
        return Ok(own);
    }
    let mut index: Value = serde_json::from_slice(&wire::read(own.into_body()).await?).map_err(Status::internal)?;
    for (path, hash) in others {
        index["paths"][&path] = json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")});
    }
    Ok(wire::json(200, &index))
}

/// Puts the groups of others among our own; each of `own` is named by `name`.
pub fn merge(own: &mut Vec<Value>, others: Vec<(i64, Value)>, name: impl Fn(&Value) -> String) {
    // The aggregator's own group stays where it is, in front.
    let rank = |value: &Value| match name(value).as_str() {
        "apiregistration.k8s.io" => i64::MAX,
        name => local::priority(name).unwrap_or(local::CUSTOM.0),
    };
    let mut ranks: Vec<i64> = own.iter().map(rank).collect();
    for (priority, group) in others {
        let at = ranks.iter().position(|rank| *rank < priority).unwrap_or(ranks.len());
        own.insert(at, group);
        ranks.insert(at, priority);
    }
}

impl Group {
    /// Versions whose servers answer.
    pub fn available(&self) -> Vec<String> {
        self.versions.iter().filter(|version| version.available).map(|version| version.name.clone()).collect()
    }

    /// As an item of an `APIGroupDiscoveryList`.
    pub fn aggregated(&self) -> Value {
        let versions: Vec<Value> = self.versions.iter().map(|version| version.aggregated(&self.name)).collect();
        json!({"metadata": {"name": self.name, "creationTimestamp": null}, "versions": versions})
    }
}

impl Version {
    fn aggregated(&self, group: &str) -> Value {
        let freshness = if self.available && self.discovered.is_some() { "Current" } else { "Stale" };
        let resources = self.discovered.as_ref().map(|d| resources(&d.resources, group, &self.name));
        json!({"version": self.name, "resources": resources.unwrap_or_default(), "freshness": freshness})
    }
}

/// `APIResourceList` in the aggregated form, where subresources stand below their resources.
fn resources(list: &Value, group: &str, version: &str) -> Vec<Value> {
    let text = |value: &Value, or: &str| value.as_str().filter(|t| !t.is_empty()).unwrap_or(or).to_owned();
    let mut found: Vec<Value> = Vec::new();
    for entry in list["resources"].as_array().into_iter().flatten() {
        let kind = json!({
            "group": text(&entry["group"], group), "version": text(&entry["version"], version), "kind": entry["kind"],
        });
        let name = entry["name"].as_str().unwrap_or_default();
        let Some((parent, sub)) = name.split_once('/') else {
            let scope = if entry["namespaced"] == true { "Namespaced" } else { "Cluster" };
            let mut resource = json!({
                "resource": name, "responseKind": kind, "scope": scope, "singularResource": entry["singularName"],
                "verbs": entry["verbs"],
            });
            for field in ["shortNames", "categories"] {
                if entry[field].is_array() {
                    resource[field] = entry[field].clone();
                }
            }
            found.push(resource);
            continue;
        };
        let part = json!({"subresource": sub, "responseKind": kind, "verbs": entry["verbs"]});
        if let Some(resource) = found.iter_mut().find(|resource| resource["resource"] == parent) {
            match resource["subresources"].as_array_mut() {
                Some(parts) => parts.push(part),
                None => resource["subresources"] = json!([part]),
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stand_by_their_priority() {
        let mut own: Vec<Value> = ["apiregistration.k8s.io", "apps", "discovery.k8s.io", "custom.example.com"]
            .map(|n| json!({"name": n}))
            .to_vec();
        let others =
            vec![(17_900, json!({"name": "high"})), (2_000, json!({"name": "wardle"})), (10, json!({"name": "low"}))];
        merge(&mut own, others, |group| group["name"].as_str().unwrap_or_default().to_owned());
        let names: Vec<&str> = own.iter().map(|group| group["name"].as_str().unwrap()).collect();
        let expected =
            ["apiregistration.k8s.io", "high", "apps", "discovery.k8s.io", "wardle", "custom.example.com", "low"];
        assert_eq!(names, expected);
    }

    #[test]
    fn subresources_stand_below_their_resources() {
        let list = json!({"resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get"]},
            {"name": "flunders/status", "singularName": "", "namespaced": true, "kind": "Flunder", "verbs": ["update"]},
        ]});
        let found = resources(&list, "wardle.example.com", "v1");
        assert_eq!(found.len(), 1);
        assert_eq!(
            (&found[0]["scope"], &found[0]["subresources"][0]["subresource"]),
            (&json!("Namespaced"), &json!("status"))
        );
        assert_eq!(found[0]["responseKind"]["group"], "wardle.example.com");
    }
}
