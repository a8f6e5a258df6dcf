//! The paths of a group version: discovery, collections, objects and subresources.

use serde_json::{Map, Value};

use super::Dialect;
use super::operations::{self, Operation, Parameter};
use crate::{GroupVersionKind, Resource, Schema, Subresource};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// The types that paths refer to although no resource consists of them.
pub(super) const ANSWERS: [&str; 5] = ["APIResourceList", "DeleteOptions", "Patch", "Status", "WatchEvent"];

/// Core resources whose deletion answers the object; so do all of storage.k8s.io and resource.k8s.io. The others answer Status.
const ANSWERS_OBJECT: [&str; 7] = [
    "persistentvolumeclaims",
    "persistentvolumes",
    "pods",
    "podtemplates",
    "resourcequotas",
    "serviceaccounts",
    "services",
];

/// The full name of a type of meta/v1.
pub(super) fn meta(name: &str) -> String {
    format!("{META}{name}")
}

/// The paths of one resource, subresources included.
pub(super) fn of_resource(schema: &Schema, resource: &Resource, dialect: Dialect) -> Vec<(String, Value)> {
    let Some(ty) = schema.type_of(resource).map(|t| t.get().name.to_string()) else { return Vec::new() };
    let list = GroupVersionKind { kind: resource.list_kind.clone(), ..resource.gvk() };
    let list = schema.type_by_kind(&list).map(|t| t.get().name.to_string());
    let writer = Writer { resource, dialect, tag: tag(&resource.group, &resource.version), ty, list };
    writer.all(schema)
}

/// The discovery path of a group version.
pub(super) fn discovery(group: &str, version: &str, dialect: Dialect) -> (String, Value) {
    let prefix = if group.is_empty() { format!("/api/{version}/") } else { format!("/apis/{group}/{version}/") };
    let answer = meta("APIResourceList");
    let operation = Operation {
        id: format!("get{}APIResources", camel(group, version)),
        text: "get available resources".into(),
        tag: &tag(group, version),
        action: "",
        gvk: None,
        parameters: &[],
        body: None,
        answer: Some(&answer),
        codes: operations::OK,
    };
    (prefix, Value::Object(Map::from_iter([("get".to_owned(), operation.write(dialect))])))
}

/// `core_v1`, `rbacAuthorization_v1`.
fn tag(group: &str, version: &str) -> String {
    let camel = camel(group, "");
    let mut chars = camel.chars();
    let lower: String = chars.next().into_iter().flat_map(char::to_lowercase).chain(chars).collect();
    format!("{lower}_{version}")
}

/// `CoreV1`, `RbacAuthorizationV1`.
fn camel(group: &str, version: &str) -> String {
    let group = if group.is_empty() { "core" } else { group.strip_suffix(".k8s.io").unwrap_or(group) };
    group.split('.').chain([version]).map(upper).collect()
}

fn upper(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().into_iter().flat_map(char::to_uppercase).chain(chars).collect()
}

struct Writer<'a> {
    resource: &'a Resource,
    dialect: Dialect,
    tag: String,
    ty: String,
    list: Option<String>,
}

impl Writer<'_> {
    fn all(&self, schema: &Schema) -> Vec<(String, Value)> {
        let (r, prefix) = (self.resource, self.resource.url_prefix());
        let scoped = if r.namespaced {
            format!("{prefix}/namespaces/{{namespace}}/{}", r.plural)
        } else {
            format!("{prefix}/{}", r.plural)
        };
        let mut paths = Vec::new();
        if r.namespaced && r.has_verb("list") {
            let mut item = Map::new();
            item.insert("get".into(), self.list("ForAllNamespaces"));
            item.insert("parameters".into(), vec![operations::query(self.dialect, &operations::PRETTY)].into());
            paths.push((format!("{prefix}/{}", r.plural), item.into()));
        }
        let collection = self.collection();
        if collection.len() > 1 {
            paths.push((scoped.clone(), collection.into()));
        }
        let object = self.object();
        if object.len() > 1 {
            paths.push((format!("{scoped}/{{name}}"), object.into()));
        }
        for sub in &r.subresources {
            let path = format!("{scoped}/{{name}}/{}", sub.name);
            if &*sub.name == "proxy" {
                paths.push((path.clone(), self.subresource(schema, sub, false)));
                paths.push((format!("{path}/{{path}}"), self.subresource(schema, sub, true)));
            } else {
                paths.push((path, self.subresource(schema, sub, false)));
            }
        }
        paths
    }

    fn parameters(&self, name: bool, extra: &[Parameter]) -> Vec<Value> {
        let mut all = Vec::new();
        if name {
            all.push(operations::in_path(self.dialect, "name", &format!("name of the {}", self.resource.kind)));
        }
        if self.resource.namespaced {
            all.push(operations::in_path(
                self.dialect,
                "namespace",
                "object name and auth scope, such as for teams and projects",
            ));
        }
        all.extend(extra.iter().map(|p| operations::query(self.dialect, p)));
        all
    }

    /// `deleteCoreV1CollectionNamespacedPod`: verb, group version, what the verb is about, scope, kind, part.
    fn id(&self, verb: &str, suffix: &str) -> String {
        self.id_about(verb, "", suffix)
    }

    fn id_about(&self, verb: &str, about: &str, suffix: &str) -> String {
        let r = self.resource;
        let scope = if r.namespaced && suffix != "ForAllNamespaces" { "Namespaced" } else { "" };
        format!("{verb}{}{about}{scope}{}{suffix}", camel(&r.group, &r.version), r.kind)
    }

    fn list(&self, suffix: &str) -> Value {
        Operation {
            id: self.id("list", suffix),
            text: format!("list or watch objects of kind {}", self.resource.kind),
            tag: &self.tag,
            action: "list",
            gvk: Some(&self.resource.gvk()),
            parameters: &operations::LIST,
            body: None,
            answer: self.list.as_deref(),
            codes: operations::OK,
        }
        .write(self.dialect)
    }

    fn collection(&self) -> Map<String, Value> {
        let (r, gvk) = (self.resource, self.resource.gvk());
        let mut item = Map::new();
        if r.has_verb("list") {
            item.insert("get".into(), self.list(""));
        }
        if r.has_verb("create") {
            item.insert(
                "post".into(),
                self.write("create", "post", &format!("create {}", article(&r.kind)), &self.ty, &gvk, ""),
            );
        }
        if r.has_verb("deletecollection") {
            let (status, options) = (meta("Status"), meta("DeleteOptions"));
            let parameters: Vec<Parameter> = operations::DELETE
                .into_iter()
                .chain(operations::LIST.into_iter().filter(|p| p.0 != "watch" && p.0 != "allowWatchBookmarks"))
                .collect();
            let operation = Operation {
                id: self.id_about("delete", "Collection", ""),
                text: format!("delete collection of {}", r.kind),
                tag: &self.tag,
                action: "deletecollection",
                gvk: Some(&gvk),
                parameters: &parameters,
                body: Some(&options),
                answer: Some(&status),
                codes: operations::OK,
            };
            item.insert("delete".into(), operation.write(self.dialect));
        }
        item.insert("parameters".into(), self.parameters(false, &[operations::PRETTY]).into());
        item
    }

    fn object(&self) -> Map<String, Value> {
        let (r, gvk) = (self.resource, self.resource.gvk());
        let mut item = self.verbs(&r.verbs, &self.ty, &gvk, "", "");
        item.shift_remove("post");
        if r.has_verb("delete") {
            let options = meta("DeleteOptions");
            let status = meta("Status");
            let object = matches!(&*r.group, "storage.k8s.io" | "resource.k8s.io")
                || (r.group.is_empty() && ANSWERS_OBJECT.contains(&&*r.plural));
            let operation = Operation {
                id: self.id("delete", ""),
                text: format!("delete {}", article(&r.kind)),
                tag: &self.tag,
                action: "delete",
                gvk: Some(&gvk),
                parameters: &operations::DELETE,
                body: Some(&options),
                answer: Some(if object { &self.ty } else { &status }),
                codes: operations::ACCEPTED,
            };
            item.insert("delete".into(), operation.write(self.dialect));
        }
        item.insert("parameters".into(), self.parameters(true, &[operations::PRETTY]).into());
        item
    }

    fn subresource(&self, schema: &Schema, sub: &Subresource, with_path: bool) -> Value {
        let suffix: String = sub.name.split('-').map(upper).collect();
        let (mut item, mut parameters) = if sub.connect {
            (self.connect(sub, &suffix, with_path), operations::EXEC.to_vec())
        } else if &*sub.name == "log" {
            let operation = Operation {
                id: self.id("read", "Log"),
                text: format!("read log of the specified {}", self.resource.kind),
                tag: &self.tag,
                action: "get",
                gvk: Some(&self.resource.gvk()),
                parameters: &[],
                body: None,
                answer: None,
                codes: operations::OK,
            };
            (Map::from_iter([("get".to_owned(), operation.write(self.dialect))]), operations::LOG.to_vec())
        } else {
            let ty = sub.ty.and_then(|id| schema.get(id)).map_or_else(|| self.ty.clone(), |t| t.get().name.to_string());
            (self.verbs(&sub.verbs, &ty, &sub.kind, &suffix, &format!("{} of ", sub.name)), vec![operations::PRETTY])
        };
        match &*sub.name {
            "exec" | "log" => {}
            "attach" => parameters.retain(|p| p.0 != "command"),
            "portforward" => {
                parameters = vec![("ports", "integer", "List of ports to forward. Required when using WebSockets.")]
            }
            "proxy" => {
                parameters = vec![("path", "string", "Path is the URL path to use for the current proxy request.")]
            }
            _ => {}
        }
        let mut all = self.parameters(true, &parameters);
        if with_path {
            all.retain(|p| p["name"] != "path");
            all.push(operations::in_path(self.dialect, "path", "path to the resource"));
        }
        item.insert("parameters".into(), all.into());
        item.into()
    }

    fn connect(&self, sub: &Subresource, suffix: &str, with_path: bool) -> Map<String, Value> {
        let methods = sub.verbs.iter().filter_map(|verb| match &**verb {
            "get" => Some("get"),
            "create" => Some("post"),
            "update" => Some("put"),
            "patch" => Some("patch"),
            "delete" => Some("delete"),
            _ => None,
        });
        methods
            .map(|method| {
                let operation = Operation {
                    id: self.id_about(
                        "connect",
                        &upper(method),
                        &format!("{suffix}{}", if with_path { "WithPath" } else { "" }),
                    ),
                    text: format!(
                        "connect {} requests to {} of {}",
                        method.to_uppercase(),
                        sub.name,
                        self.resource.kind
                    ),
                    tag: &self.tag,
                    action: "connect",
                    gvk: Some(&sub.kind),
                    parameters: &[],
                    body: None,
                    answer: None,
                    codes: operations::OK,
                };
                (method.to_owned(), operation.write(self.dialect))
            })
            .collect()
    }

    /// get, post, put and patch of an object or a part of it.
    fn verbs(
        &self,
        verbs: &[crate::Str],
        ty: &str,
        gvk: &GroupVersionKind,
        suffix: &str,
        part: &str,
    ) -> Map<String, Value> {
        let mut item = Map::new();
        let kind = &self.resource.kind;
        for verb in verbs {
            let (method, operation) = match &**verb {
                "get" => {
                    let operation = Operation {
                        id: self.id("read", suffix),
                        text: format!("read {part}the specified {kind}"),
                        tag: &self.tag,
                        action: "get",
                        gvk: Some(gvk),
                        parameters: &[],
                        body: None,
                        answer: Some(ty),
                        codes: operations::OK,
                    };
                    ("get", operation.write(self.dialect))
                }
                "create" => {
                    ("post", self.write("create", "post", &format!("create {part}{}", article(kind)), ty, gvk, suffix))
                }
                "update" => (
                    "put",
                    self.write("replace", "put", &format!("replace {part}the specified {kind}"), ty, gvk, suffix),
                ),
                "patch" => (
                    "patch",
                    self.write(
                        "patch",
                        "patch",
                        &format!("partially update {part}the specified {kind}"),
                        ty,
                        gvk,
                        suffix,
                    ),
                ),
                _ => continue,
            };
            item.insert(method.to_owned(), operation);
        }
        item
    }

    fn write(&self, verb: &str, action: &str, text: &str, ty: &str, gvk: &GroupVersionKind, suffix: &str) -> Value {
        let patch = meta("Patch");
        let (parameters, body, codes): (&[Parameter], _, _) = match action {
            "patch" => (&operations::PATCH, patch.as_str(), operations::CREATED),
            "put" => (&operations::WRITE, ty, operations::CREATED),
            _ => (&operations::WRITE, ty, operations::CREATED_OR_ACCEPTED),
        };
        let (id, text) = (self.id(verb, suffix), text.to_owned());
        Operation {
            id,
            text,
            tag: &self.tag,
            action,
            gvk: Some(gvk),
            parameters,
            body: Some(body),
            answer: Some(ty),
            codes,
        }
        .write(self.dialect)
    }
}

/// `a Pod`, `an Ingress`.
fn article(kind: &str) -> String {
    let an = kind.starts_with(['A', 'E', 'I', 'O', 'U']);
    format!("{} {kind}", if an { "an" } else { "a" })
}
