//! The paths of a group version: discovery, collections, objects, subresources and the old ones to watch.

use serde_json::Value;

use super::Dialect;
use super::operations::{self, Operation, Parameter};
use crate::{GroupVersionKind, Resource, Schema, Subresource};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// The types that the paths of these resources refer to although none consists of them.
pub(super) fn answers(resources: &[&Resource]) -> Vec<String> {
    let any = |verb: &str| resources.iter().any(|r| r.has_verb(verb));
    let part =
        |verb: &str| resources.iter().flat_map(|r| &r.subresources).any(|s| s.verbs.iter().any(|v| &**v == verb));
    let deleted = any("delete") || any("deletecollection");
    let needed = [
        ("APIResourceList", true),
        ("DeleteOptions", deleted),
        ("Patch", any("patch") || part("patch")),
        ("Status", deleted),
        ("WatchEvent", any("watch")),
    ];
    needed.into_iter().filter(|(_, needed)| *needed).map(|(name, _)| meta(name)).collect()
}

/// Core resources whose deletion answers the object; so do those of storage.k8s.io (but one) and resource.k8s.io. The others answer Status.
const ANSWERS_OBJECT: [&str; 7] = [
    "persistentvolumeclaims",
    "persistentvolumes",
    "pods",
    "podtemplates",
    "resourcequotas",
    "serviceaccounts",
    "services",
];

/// The media types of ordinary answers.
const MEDIA: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// And those of a watch.
const WATCHED: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
/// Of a log.
const LOGGED: &[&str] = &["text/plain", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// Of custom resources.
const CUSTOM: &[&str] = &["application/json", "application/yaml"];
const ANY: &[&str] = &["*/*"];
const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
/// kubectl sends what is listed here: how to merge by strategy, only the table's own types say.
const CUSTOM_PATCHES: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

const NAMESPACE: Parameter<'static> =
    operations::in_path("namespace", "object name and auth scope, such as for teams and projects");

/// The full name of a type of meta/v1.
pub(super) fn meta(name: &str) -> String {
    format!("{META}{name}")
}

/// The paths of one resource, subresources included.
pub(super) fn of_resource(schema: &Schema, resource: &Resource, dialect: Dialect) -> Vec<(String, Value)> {
    let Some(ty) = schema.type_of(resource).map(|t| t.get().name.to_string()) else { return Vec::new() };
    let list = GroupVersionKind { kind: resource.list_kind.clone(), ..resource.gvk() };
    let list = schema.type_by_kind(&list).map(|t| t.get().name.to_string());
    let custom = !std::ptr::eq(schema, Schema::builtin());
    let writer = Writer {
        resource,
        dialect,
        tag: tag(&resource.group, &resource.version),
        gvk: resource.gvk(),
        ty,
        list,
        status: meta("Status"),
        options: meta("DeleteOptions"),
        patch: meta("Patch"),
        event: meta("WatchEvent"),
        name: format!("name of the {}", resource.kind),
        custom,
    };
    writer.all(schema)
}

/// The discovery path of a group version.
pub(super) fn discovery(group: &str, version: &str, dialect: Dialect) -> (String, Value) {
    let prefix = if group.is_empty() { format!("/api/{version}/") } else { format!("/apis/{group}/{version}/") };
    let (id, text) = (format!("get{}APIResources", camel(group, version)), "get available resources");
    (prefix, plain(dialect, &id, text, &tag(group, version), Some("APIResourceList"), MEDIA, MEDIA))
}

/// The paths that belong to no version, each in a document of its own in v3, of which the path is its name between slashes. `groups`
/// are all that are served.
pub(super) fn general<'a>(groups: impl IntoIterator<Item = &'a str>, dialect: Dialect) -> Vec<(String, Value)> {
    let get = |id: &str, text: &str, tag: &str, answer: Option<&str>, consumes: &[&str], produces: &[&str]| {
        plain(dialect, id, text, tag, answer, consumes, produces)
    };
    let json: &[&str] = &["application/json"];
    let mut all = vec![
        (
            "/.well-known/openid-configuration/".to_owned(),
            get(
                "getServiceAccountIssuerOpenIDConfiguration",
                "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
                "WellKnown",
                None,
                &[],
                json,
            ),
        ),
        (
            "/api/".into(),
            get("getCoreAPIVersions", "get available API versions", "core", Some("APIVersions"), MEDIA, MEDIA),
        ),
        (
            "/apis/".into(),
            get("getAPIVersions", "get available API versions", "apis", Some("APIGroupList"), MEDIA, MEDIA),
        ),
    ];
    for group in groups.into_iter().filter(|group| !group.is_empty()) {
        let (id, tag) = (format!("get{}APIGroup", camel(group, "")), lower_camel(group));
        let item = get(&id, "get information of a group", &tag, Some("APIGroup"), MEDIA, MEDIA);
        all.push((format!("/apis/{group}/"), item));
    }
    all.push((
        "/openid/v1/jwks/".into(),
        get(
            "getServiceAccountIssuerOpenIDKeyset",
            "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)",
            "openid",
            None,
            &[],
            &["application/jwk-set+json"],
        ),
    ));
    let text = "get the version information for this server";
    all.push(("/version/".into(), get("getCodeVersion", text, "version", Some(VERSION), json, json)));
    all
}

/// What `/version` answers.
const VERSION: &str = "io.k8s.apimachinery.pkg.version.Info";

/// The types that [`general`] refers to.
pub(super) fn general_answers() -> [String; 4] {
    [meta("APIVersions"), meta("APIGroupList"), meta("APIGroup"), VERSION.to_owned()]
}

/// A path that is only read, and is no object's.
fn plain(
    dialect: Dialect,
    id: &str,
    text: &str,
    tag: &str,
    answer: Option<&str>,
    consumes: &[&str],
    produces: &[&str],
) -> Value {
    let answer = answer.map(|answer| if answer == VERSION { answer.to_owned() } else { meta(answer) });
    let operation = Operation {
        id: id.to_owned(),
        text: text.to_owned(),
        tag,
        action: "",
        gvk: None,
        parameters: Vec::new(),
        consumes,
        body: None,
        produces,
        answer: answer.as_deref(),
        codes: operations::OK,
    };
    operations::item(dialect, vec![("get", operation)])
}

/// `core_v1`, `rbacAuthorization_v1`.
fn tag(group: &str, version: &str) -> String {
    format!("{}_{version}", lower_camel(group))
}

/// `core`, `rbacAuthorization`.
fn lower_camel(group: &str) -> String {
    let camel = camel(group, "");
    let mut chars = camel.chars();
    chars.next().into_iter().flat_map(char::to_lowercase).chain(chars).collect()
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
    gvk: GroupVersionKind,
    ty: String,
    list: Option<String>,
    status: String,
    options: String,
    patch: String,
    event: String,
    /// What the name in its paths is.
    name: String,
    /// It is defined by a CustomResourceDefinition.
    custom: bool,
}

impl Writer<'_> {
    fn all(&self, schema: &Schema) -> Vec<(String, Value)> {
        let (r, prefix) = (self.resource, self.resource.url_prefix());
        let scope = if r.namespaced { "/namespaces/{namespace}" } else { "" };
        let scoped = format!("{prefix}{scope}/{}", r.plural);
        let mut paths = Vec::new();
        let mut add = |path: String, operations: Vec<(&str, Operation<'_>)>| {
            if !operations.is_empty() {
                paths.push((path, operations::item(self.dialect, operations)));
            }
        };
        if r.namespaced && r.has_verb("list") {
            add(format!("{prefix}/{}", r.plural), vec![("get", self.list(false))]);
        }
        add(scoped.clone(), self.collection());
        add(format!("{scoped}/{{name}}"), self.object());
        for sub in &r.subresources {
            let name = match sub.kind.kind.is_empty() || self.custom {
                true => self.name.clone(),
                false => format!("name of the {}", sub.kind.kind),
            };
            let path = format!("{scoped}/{{name}}/{}", sub.name);
            add(path.clone(), self.subresource(schema, sub, &name, false));
            if &*sub.name == "proxy" {
                add(format!("{path}/{{path}}"), self.subresource(schema, sub, &name, true));
            }
        }
        if r.has_verb("watch") && !self.custom {
            if r.namespaced {
                add(format!("{prefix}/watch/{}", r.plural), vec![("get", self.watch(false, false))]);
            }
            let scoped = format!("{prefix}/watch{scope}/{}", r.plural);
            add(scoped.clone(), vec![("get", self.watch(true, false))]);
            add(format!("{scoped}/{{name}}"), vec![("get", self.watch(true, true))]);
        }
        paths
    }

    fn produces(&self) -> &'static [&'static str] {
        if self.custom { CUSTOM } else { MEDIA }
    }

    fn consumes(&self) -> &'static [&'static str] {
        if self.custom { CUSTOM } else { ANY }
    }

    /// What every operation on the resource takes, and more.
    fn parameters<'p>(&'p self, scoped: bool, name: Option<&'p str>, more: &[Parameter<'p>]) -> Vec<Parameter<'p>> {
        let namespace = Some(NAMESPACE).filter(|_| scoped && self.resource.namespaced);
        let name = name.map(|name| operations::in_path("name", name));
        name.into_iter().chain(namespace).chain(more.iter().copied()).collect()
    }

    /// `deleteCoreV1CollectionNamespacedPod`: verb, group version, what the verb is about, scope, kind, part.
    fn id(&self, verb: &str, suffix: &str) -> String {
        self.id_about(verb, "", suffix)
    }

    fn id_about(&self, verb: &str, about: &str, suffix: &str) -> String {
        let r = self.resource;
        let scope = if r.namespaced && !suffix.ends_with("ForAllNamespaces") { "Namespaced" } else { "" };
        format!("{verb}{}{about}{scope}{}{suffix}", camel(&r.group, &r.version), r.kind)
    }

    /// An operation on the resource itself, which takes and answers what most do.
    fn operation<'p>(
        &'p self,
        id: String,
        text: String,
        action: &'p str,
        parameters: Vec<Parameter<'p>>,
    ) -> Operation<'p> {
        Operation {
            id,
            text,
            tag: &self.tag,
            action,
            gvk: Some(&self.gvk),
            parameters,
            consumes: self.consumes(),
            body: None,
            produces: self.produces(),
            answer: Some(&self.ty),
            codes: operations::OK,
        }
    }

    fn list(&self, scoped: bool) -> Operation<'_> {
        let suffix = if scoped || !self.resource.namespaced { "" } else { "ForAllNamespaces" };
        let watched = self.resource.has_verb("watch") && !self.custom;
        let verbs = if watched { "list or watch" } else { "list" };
        let parameters = self.parameters(scoped, None, &with_pretty(&operations::LIST));
        let text = format!("{verbs} objects of kind {}", self.resource.kind);
        Operation {
            answer: self.list.as_deref(),
            // Even what cannot be watched says so.
            produces: if self.custom { CUSTOM } else { WATCHED },
            ..self.operation(self.id("list", suffix), text, "list", parameters)
        }
    }

    fn watch(&self, scoped: bool, one: bool) -> Operation<'_> {
        let kind = &self.resource.kind;
        let (suffix, action, text) = match (one, scoped || !self.resource.namespaced) {
            (true, _) => (
                "",
                "watch",
                format!(
                    "watch changes to an object of kind {kind}. deprecated: use the 'watch' parameter with a list operation instead, filtered to a single item with the 'fieldSelector' parameter."
                ),
            ),
            (false, all) => (
                if all { "List" } else { "ListForAllNamespaces" },
                "watchlist",
                format!(
                    "watch individual changes to a list of {kind}. deprecated: use the 'watch' parameter with a list operation instead."
                ),
            ),
        };
        let parameters = self.parameters(scoped, one.then_some(&*self.name), &with_pretty(&operations::LIST));
        Operation {
            answer: Some(&self.event),
            produces: WATCHED,
            ..self.operation(self.id("watch", suffix), text, action, parameters)
        }
    }

    fn collection(&self) -> Vec<(&'static str, Operation<'_>)> {
        let r = self.resource;
        let mut operations = Vec::new();
        if r.has_verb("list") {
            operations.push(("get", self.list(true)));
        }
        if r.has_verb("create") {
            let text = format!("create {}", article(&r.kind));
            operations.push(("post", self.write("create", "post", text, &self.ty, "", None)));
        }
        if r.has_verb("deletecollection") {
            let listed = operations::LIST.into_iter();
            let parameters: Vec<Parameter<'_>> = if self.custom {
                listed.collect()
            } else {
                let listed = listed.filter(|p| p.name != "watch" && p.name != "allowWatchBookmarks");
                operations::DELETE.into_iter().chain(listed).collect()
            };
            let parameters = self.parameters(true, None, &with_pretty(&parameters));
            let id = self.id_about("delete", "Collection", "");
            let operation = Operation {
                body: Some(&*self.options).filter(|_| !self.custom),
                answer: Some(&self.status),
                ..self.operation(id, format!("delete collection of {}", r.kind), "deletecollection", parameters)
            };
            operations.push(("delete", operation));
        }
        operations
    }

    fn object(&self) -> Vec<(&'static str, Operation<'_>)> {
        let r = self.resource;
        let mut operations = self.verbs(&r.verbs, &self.ty, &self.gvk, "", "", &self.name);
        operations.retain(|(method, _)| *method != "post");
        if r.has_verb("delete") {
            let object = matches!(
                (&*r.group, &*r.plural),
                ("resource.k8s.io", _)
                    | (
                        "storage.k8s.io",
                        "csidrivers" | "csinodes" | "storageclasses" | "volumeattachments" | "volumeattributesclasses"
                    )
            ) || (r.group.is_empty() && ANSWERS_OBJECT.contains(&&*r.plural));
            let parameters = self.parameters(true, Some(&self.name), &with_pretty(&operations::DELETE));
            let operation = Operation {
                body: Some(&self.options),
                answer: Some(if object { &self.ty } else { &self.status }),
                codes: operations::ACCEPTED,
                ..self.operation(self.id("delete", ""), format!("delete {}", article(&r.kind)), "delete", parameters)
            };
            operations.push(("delete", operation));
        }
        operations
    }

    fn subresource<'p>(
        &'p self,
        schema: &'p Schema,
        sub: &'p Subresource,
        name: &'p str,
        with_path: bool,
    ) -> Vec<(&'static str, Operation<'p>)> {
        let suffix: String = sub.name.split('-').map(upper).collect();
        if sub.connect {
            return self.connect(sub, &suffix, name, with_path);
        }
        if &*sub.name == "log" {
            let parameters = self.parameters(true, Some(name), &operations::LOG);
            let text = format!("read log of the specified {}", self.resource.kind);
            let operation = Operation {
                answer: None,
                produces: LOGGED,
                ..self.operation(self.id("read", "Log"), text, "get", parameters)
            };
            return vec![("get", operation)];
        }
        let ty = sub.ty.and_then(|id| schema.get(id)).map_or(&*self.ty, |t| &*t.get().name);
        let gvk = if self.custom { &self.gvk } else { &sub.kind };
        self.verbs(&sub.verbs, ty, gvk, &suffix, &format!("{} of ", sub.name), name)
    }

    fn connect<'p>(
        &'p self,
        sub: &'p Subresource,
        suffix: &str,
        name: &'p str,
        with_path: bool,
    ) -> Vec<(&'static str, Operation<'p>)> {
        let mut parameters: Vec<Parameter<'static>> = match &*sub.name {
            "attach" => operations::EXEC.into_iter().filter(|p| p.name != "command").collect(),
            "portforward" => vec![operations::PORTS],
            "proxy" => vec![operations::PROXY_PATH],
            _ => operations::EXEC.to_vec(),
        };
        if with_path {
            parameters.push(operations::in_path("path", "path to the resource"));
        }
        let with_path = if with_path { "WithPath" } else { "" };
        let mut methods: Vec<&'static str> = sub
            .verbs
            .iter()
            .filter_map(|verb| match &**verb {
                "get" => Some("get"),
                "create" => Some("post"),
                "update" => Some("put"),
                "patch" => Some("patch"),
                "delete" => Some("delete"),
                _ => None,
            })
            .collect();
        if &*sub.name == "proxy" {
            methods.extend(["head", "options"]);
        }
        let operation = |method: &'static str| {
            let id = self.id_about("connect", &upper(method), &format!("{suffix}{with_path}"));
            let text = format!("connect {} requests to {} of {}", method.to_uppercase(), sub.name, self.resource.kind);
            let operation = Operation {
                gvk: Some(&sub.kind),
                answer: None,
                produces: ANY,
                ..self.operation(id, text, "connect", self.parameters(true, Some(name), &parameters))
            };
            (method, operation)
        };
        methods.into_iter().map(operation).collect()
    }

    /// get, post, put and patch of an object or a part of it.
    fn verbs<'p>(
        &'p self,
        verbs: &[crate::Str],
        ty: &'p str,
        gvk: &'p GroupVersionKind,
        suffix: &str,
        part: &str,
        name: &'p str,
    ) -> Vec<(&'static str, Operation<'p>)> {
        let kind = &self.resource.kind;
        let mut operations = Vec::new();
        for verb in verbs {
            let (method, operation) = match &**verb {
                "get" => {
                    let parameters = self.parameters(true, Some(name), &[operations::PRETTY]);
                    let text = format!("read {part}the specified {kind}");
                    (
                        "get",
                        Operation {
                            answer: Some(ty),
                            ..self.operation(self.id("read", suffix), text, "get", parameters)
                        },
                    )
                }
                "create" => {
                    let text = format!("create {part}{}", article(kind));
                    ("post", self.write("create", "post", text, ty, suffix, Some(name)))
                }
                "update" => {
                    let text = format!("replace {part}the specified {kind}");
                    ("put", self.write("replace", "put", text, ty, suffix, Some(name)))
                }
                "patch" => {
                    let text = format!("partially update {part}the specified {kind}");
                    ("patch", self.write("patch", "patch", text, ty, suffix, Some(name)))
                }
                _ => continue,
            };
            operations.push((method, Operation { gvk: Some(gvk), ..operation }));
        }
        operations
    }

    fn write<'p>(
        &'p self,
        verb: &str,
        action: &'p str,
        text: String,
        ty: &'p str,
        suffix: &str,
        name: Option<&'p str>,
    ) -> Operation<'p> {
        let (more, body, codes): (&[Parameter<'static>], _, _) = match action {
            "patch" if self.custom => (&operations::PATCH, &*self.patch, operations::OK),
            "patch" => (&operations::PATCH, &*self.patch, operations::CREATED),
            "put" => (&operations::WRITE, ty, operations::CREATED),
            _ => (&operations::WRITE, ty, operations::CREATED_OR_ACCEPTED),
        };
        let consumes = match action {
            "patch" if self.custom => CUSTOM_PATCHES,
            "patch" => PATCHES,
            _ => self.consumes(),
        };
        Operation {
            consumes,
            body: Some(body),
            answer: Some(ty),
            codes,
            ..self.operation(self.id(verb, suffix), text, action, self.parameters(true, name, &with_pretty(more)))
        }
    }
}

fn with_pretty<'p>(parameters: &[Parameter<'p>]) -> Vec<Parameter<'p>> {
    parameters.iter().copied().chain([operations::PRETTY]).collect()
}

/// `a Pod`, `an Ingress`, but `Endpoints`, which are many.
fn article(kind: &str) -> String {
    if kind.ends_with('s') && !kind.ends_with("ss") {
        return kind.to_owned();
    }
    let an = kind.starts_with(['A', 'E', 'I', 'O', 'U']);
    format!("{} {kind}", if an { "an" } else { "a" })
}
