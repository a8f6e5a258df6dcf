//! One operation of a path: parameters, body, answers, and the marks by which kubectl finds it.

use serde_json::{Map, Value, json};

use super::Dialect;
use crate::GroupVersionKind;

/// A parameter of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parameter<'a> {
    pub(super) name: &'a str,
    ty: &'a str,
    text: &'a str,
    in_path: bool,
}

const fn query(name: &'static str, ty: &'static str, text: &'static str) -> Parameter<'static> {
    Parameter { name, ty, text, in_path: false }
}

/// A parameter in the path.
pub(super) const fn in_path<'a>(name: &'a str, text: &'a str) -> Parameter<'a> {
    Parameter { name, ty: "string", text, in_path: true }
}

pub(super) const PRETTY: Parameter<'static> =
    query("pretty", "string", "If 'true', then the output is pretty printed.");
pub(super) const DRY_RUN: Parameter<'static> = query(
    "dryRun",
    "string",
    "When present, indicates that modifications should not be persisted. Valid values are: - All: all dry run stages will be processed",
);
pub(super) const FIELD_MANAGER: Parameter<'static> = query(
    "fieldManager",
    "string",
    "fieldManager is a name associated with the actor or entity that is making these changes.",
);
pub(super) const FIELD_VALIDATION: Parameter<'static> = query(
    "fieldValidation",
    "string",
    "fieldValidation instructs the server on how to handle objects in the request containing unknown or duplicate fields: Ignore, Warn or Strict.",
);
pub(super) const FORCE: Parameter<'static> = query(
    "force",
    "boolean",
    "Force is going to \"force\" Apply requests. It means user will re-acquire conflicting fields owned by other people.",
);

/// Of a deletion that may throw away what cannot be read (an alpha feature that is off).
const UNREADABLE: Parameter<'static> = query(
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "boolean",
    "Whether an object that cannot be read is deleted unseen. An alpha feature that is off: it is not looked at.",
);
pub(super) const PORTS: Parameter<'static> =
    query("ports", "integer", "List of ports to forward. Required when using WebSockets.");
pub(super) const PROXY_PATH: Parameter<'static> =
    query("path", "string", "Path is the URL path to use for the current proxy request.");

pub(super) const WRITE: [Parameter<'static>; 3] = [DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
pub(super) const PATCH: [Parameter<'static>; 4] = [DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE];
pub(super) const DELETE: [Parameter<'static>; 5] = [
    DRY_RUN,
    query(
        "gracePeriodSeconds",
        "integer",
        "The duration in seconds before the object should be deleted. The value zero indicates delete immediately.",
    ),
    UNREADABLE,
    query("orphanDependents", "boolean", "Deprecated: please use the PropagationPolicy."),
    query(
        "propagationPolicy",
        "string",
        "Whether and how garbage collection will be performed: 'Orphan', 'Background' or 'Foreground'.",
    ),
];
pub(super) const LIST: [Parameter<'static>; 11] = [
    query("allowWatchBookmarks", "boolean", "allowWatchBookmarks requests watch events with type \"BOOKMARK\"."),
    query("continue", "string", "The continue option should be set when retrieving more results from the server."),
    query(
        "fieldSelector",
        "string",
        "A selector to restrict the list of returned objects by their fields. Defaults to everything.",
    ),
    query(
        "labelSelector",
        "string",
        "A selector to restrict the list of returned objects by their labels. Defaults to everything.",
    ),
    query("limit", "integer", "limit is a maximum number of responses to return for a list call."),
    query(
        "resourceVersion",
        "string",
        "resourceVersion sets a constraint on what resource versions a request may be served from.",
    ),
    query(
        "resourceVersionMatch",
        "string",
        "resourceVersionMatch determines how resourceVersion is applied to list calls.",
    ),
    query(
        "sendInitialEvents",
        "boolean",
        "`sendInitialEvents=true` may be set together with `watch=true`: the watch begins with synthetic events for the current state.",
    ),
    query(
        "shardSelector",
        "string",
        "An expression in CEL that restricts the list to a part of the objects. An alpha feature that is off: it is not looked at.",
    ),
    query(
        "timeoutSeconds",
        "integer",
        "Timeout for the list/watch call. This limits the duration of the call, regardless of any activity or inactivity.",
    ),
    query(
        "watch",
        "boolean",
        "Watch for changes to the described resources and return them as a stream of add, update, and remove notifications.",
    ),
];
pub(super) const LOG: [Parameter<'static>; 10] = [
    query(
        "container",
        "string",
        "The container for which to stream logs. Defaults to only container if there is one container in the pod.",
    ),
    query("follow", "boolean", "Follow the log stream of the pod. Defaults to false."),
    query(
        "insecureSkipTLSVerifyBackend",
        "boolean",
        "Do not confirm the validity of the serving certificate of the kubelet.",
    ),
    query("limitBytes", "integer", "The number of bytes to read from the server before terminating the log output."),
    query("previous", "boolean", "Return previous terminated container logs. Defaults to false."),
    query("sinceSeconds", "integer", "A relative time in seconds before the current time from which to show logs."),
    query(
        "stream",
        "string",
        "Specify which container log stream to return to the client: \"All\", \"Stdout\" or \"Stderr\".",
    ),
    query("tailLines", "integer", "The number of lines from the end of the logs to show."),
    query(
        "timestamps",
        "boolean",
        "Add an RFC3339 timestamp at the beginning of every line of log output. Defaults to false.",
    ),
    PRETTY,
];
pub(super) const EXEC: [Parameter<'static>; 6] = [
    query("command", "string", "Command is the remote command to execute. argv array. Not executed within a shell."),
    query(
        "container",
        "string",
        "Container in which to execute the command. Defaults to only container if there is only one container in the pod.",
    ),
    query("stderr", "boolean", "Redirect the standard error stream of the pod for this call."),
    query("stdin", "boolean", "Redirect the standard input stream of the pod for this call. Defaults to false."),
    query("stdout", "boolean", "Redirect the standard output stream of the pod for this call."),
    query("tty", "boolean", "TTY if true indicates that a tty will be allocated for the call. Defaults to false."),
];

/// What an operation takes and gives.
pub(super) struct Operation<'a> {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) tag: &'a str,
    /// `x-kubernetes-action`.
    pub(super) action: &'a str,
    pub(super) gvk: Option<&'a GroupVersionKind>,
    pub(super) parameters: Vec<Parameter<'a>>,
    /// The media types of a request.
    pub(super) consumes: &'a [&'a str],
    /// The type of the body.
    pub(super) body: Option<&'a str>,
    /// The media types of an answer.
    pub(super) produces: &'a [&'a str],
    /// The type of the answer; a string if none.
    pub(super) answer: Option<&'a str>,
    /// The status codes of success.
    pub(super) codes: &'a [(&'a str, &'a str)],
}

pub(super) const OK: &[(&str, &str)] = &[("200", "OK")];
pub(super) const CREATED: &[(&str, &str)] = &[("200", "OK"), ("201", "Created")];
pub(super) const CREATED_OR_ACCEPTED: &[(&str, &str)] = &[("200", "OK"), ("201", "Created"), ("202", "Accepted")];
pub(super) const ACCEPTED: &[(&str, &str)] = &[("200", "OK"), ("202", "Accepted")];

/// A path's operations by their methods. What all of them take is said of the path.
pub(super) fn item(dialect: Dialect, operations: Vec<(&str, Operation<'_>)>) -> Value {
    let first = operations.first().map(|(_, operation)| operation.parameters.clone()).unwrap_or_default();
    let of_all = |parameter: &Parameter<'_>| operations.iter().all(|(_, o)| o.parameters.contains(parameter));
    let common: Vec<Parameter<'_>> = first.into_iter().filter(of_all).collect();
    let mut item: Map<String, Value> = operations
        .iter()
        .map(|(method, operation)| ((*method).to_owned(), operation.write(dialect, &common)))
        .collect();
    if !common.is_empty() {
        item.insert("parameters".into(), sorted(common.iter().map(|p| p.write(dialect)).collect()));
    }
    item.into()
}

/// By name; of one name the path's comes first.
fn sorted(mut parameters: Vec<Value>) -> Value {
    let text = |parameter: &Value, member: &str| parameter[member].as_str().unwrap_or_default().to_owned();
    parameters.sort_by_cached_key(|parameter| (text(parameter, "name"), text(parameter, "in")));
    parameters.into()
}

impl Operation<'_> {
    /// Without the parameters that are said of the path.
    fn write(&self, dialect: Dialect, common: &[Parameter<'_>]) -> Value {
        let mut out = Map::new();
        let mut put = |key: &str, value: Value| {
            out.insert(key.to_owned(), value);
        };
        put("description", self.text.as_str().into());
        put("operationId", self.id.as_str().into());
        put("tags", json!([self.tag]));
        let own = self.parameters.iter().filter(|parameter| !common.contains(parameter));
        let mut parameters: Vec<Value> = own.map(|parameter| parameter.write(dialect)).collect();
        if dialect == Dialect::V2 && !self.consumes.is_empty() {
            put("consumes", json!(self.consumes));
        }
        if let Some(body) = self.body {
            let schema = dialect.reference(body);
            let required = !self.action.starts_with("delete");
            match dialect {
                Dialect::V2 => {
                    let mut parameter = json!({ "in": "body", "name": "body" });
                    if required {
                        parameter["required"] = true.into();
                    }
                    parameter["schema"] = schema;
                    parameters.push(parameter);
                }
                Dialect::V3 => {
                    let mut body = json!({ "content": content(self.consumes, &schema) });
                    if required {
                        body["required"] = true.into();
                    }
                    put("requestBody", body);
                }
            }
        }
        if !parameters.is_empty() {
            put("parameters", sorted(parameters));
        }
        if dialect == Dialect::V2 {
            put("produces", json!(self.produces));
            put("schemes", json!(["https"]));
        }
        put("responses", self.responses(dialect));
        if !self.action.is_empty() {
            put("x-kubernetes-action", self.action.into());
        }
        if let Some(gvk) = self.gvk {
            put(
                "x-kubernetes-group-version-kind",
                json!({ "group": &*gvk.group, "kind": &*gvk.kind, "version": &*gvk.version }),
            );
        }
        Value::Object(out)
    }

    fn responses(&self, dialect: Dialect) -> Value {
        let mut out = Map::new();
        for (code, text) in self.codes {
            let schema = self.answer.map_or_else(|| json!({ "type": "string" }), |a| dialect.reference(a));
            let answer = match dialect {
                Dialect::V2 => json!({ "description": text, "schema": schema }),
                Dialect::V3 => json!({ "description": text, "content": content(self.produces, &schema) }),
            };
            out.insert((*code).to_owned(), answer);
        }
        out.insert("401".into(), json!({ "description": "Unauthorized" }));
        Value::Object(out)
    }
}

/// One schema in each of these media types.
fn content(media: &[&str], schema: &Value) -> Map<String, Value> {
    media.iter().map(|media| ((*media).to_owned(), json!({ "schema": schema }))).collect()
}

impl Parameter<'_> {
    fn write(&self, dialect: Dialect) -> Value {
        let place = if self.in_path { "path" } else { "query" };
        let mut out = json!({ "description": self.text, "in": place, "name": self.name });
        if self.in_path {
            out["required"] = true.into();
        }
        match dialect {
            Dialect::V2 => {
                out["type"] = self.ty.into();
                out["uniqueItems"] = true.into();
            }
            Dialect::V3 => out["schema"] = json!({ "type": self.ty, "uniqueItems": true }),
        }
        out
    }
}
