//! One operation of a path: parameters, body, answers, and the marks by which kubectl finds it.

use serde_json::{Map, Value, json};

use super::{Dialect, MEDIA_TYPES};
use crate::{GroupVersionKind, Schema};

/// A query parameter: name, type, text.
pub(super) type Parameter = (&'static str, &'static str, &'static str);

pub(super) const PRETTY: Parameter = ("pretty", "string", "If 'true', then the output is pretty printed.");
pub(super) const DRY_RUN: Parameter = (
    "dryRun",
    "string",
    "When present, indicates that modifications should not be persisted. Valid values are: - All: all dry run stages will be processed",
);
pub(super) const FIELD_MANAGER: Parameter = (
    "fieldManager",
    "string",
    "fieldManager is a name associated with the actor or entity that is making these changes.",
);
pub(super) const FIELD_VALIDATION: Parameter = (
    "fieldValidation",
    "string",
    "fieldValidation instructs the server on how to handle objects in the request containing unknown or duplicate fields: Ignore, Warn or Strict.",
);
pub(super) const FORCE: Parameter = (
    "force",
    "boolean",
    "Force is going to \"force\" Apply requests. It means user will re-acquire conflicting fields owned by other people.",
);

pub(super) const WRITE: [Parameter; 3] = [DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
pub(super) const PATCH: [Parameter; 4] = [DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE];
pub(super) const DELETE: [Parameter; 4] = [
    DRY_RUN,
    (
        "gracePeriodSeconds",
        "integer",
        "The duration in seconds before the object should be deleted. The value zero indicates delete immediately.",
    ),
    ("orphanDependents", "boolean", "Deprecated: please use the PropagationPolicy."),
    (
        "propagationPolicy",
        "string",
        "Whether and how garbage collection will be performed: 'Orphan', 'Background' or 'Foreground'.",
    ),
];
pub(super) const LIST: [Parameter; 10] = [
    ("allowWatchBookmarks", "boolean", "allowWatchBookmarks requests watch events with type \"BOOKMARK\"."),
    ("continue", "string", "The continue option should be set when retrieving more results from the server."),
    (
        "fieldSelector",
        "string",
        "A selector to restrict the list of returned objects by their fields. Defaults to everything.",
    ),
    (
        "labelSelector",
        "string",
        "A selector to restrict the list of returned objects by their labels. Defaults to everything.",
    ),
    ("limit", "integer", "limit is a maximum number of responses to return for a list call."),
    (
        "resourceVersion",
        "string",
        "resourceVersion sets a constraint on what resource versions a request may be served from.",
    ),
    ("resourceVersionMatch", "string", "resourceVersionMatch determines how resourceVersion is applied to list calls."),
    (
        "sendInitialEvents",
        "boolean",
        "`sendInitialEvents=true` may be set together with `watch=true`: the watch begins with synthetic events for the current state.",
    ),
    (
        "timeoutSeconds",
        "integer",
        "Timeout for the list/watch call. This limits the duration of the call, regardless of any activity or inactivity.",
    ),
    (
        "watch",
        "boolean",
        "Watch for changes to the described resources and return them as a stream of add, update, and remove notifications.",
    ),
];
pub(super) const LOG: [Parameter; 10] = [
    (
        "container",
        "string",
        "The container for which to stream logs. Defaults to only container if there is one container in the pod.",
    ),
    ("follow", "boolean", "Follow the log stream of the pod. Defaults to false."),
    (
        "insecureSkipTLSVerifyBackend",
        "boolean",
        "Do not confirm the validity of the serving certificate of the kubelet.",
    ),
    ("limitBytes", "integer", "The number of bytes to read from the server before terminating the log output."),
    ("previous", "boolean", "Return previous terminated container logs. Defaults to false."),
    ("sinceSeconds", "integer", "A relative time in seconds before the current time from which to show logs."),
    (
        "stream",
        "string",
        "Specify which container log stream to return to the client: \"All\", \"Stdout\" or \"Stderr\".",
    ),
    ("tailLines", "integer", "The number of lines from the end of the logs to show."),
    (
        "timestamps",
        "boolean",
        "Add an RFC3339 timestamp at the beginning of every line of log output. Defaults to false.",
    ),
    PRETTY,
];
pub(super) const EXEC: [Parameter; 6] = [
    ("command", "string", "Command is the remote command to execute. argv array. Not executed within a shell."),
    (
        "container",
        "string",
        "Container in which to execute the command. Defaults to only container if there is only one container in the pod.",
    ),
    ("stderr", "boolean", "Redirect the standard error stream of the pod for this call."),
    ("stdin", "boolean", "Redirect the standard input stream of the pod for this call. Defaults to false."),
    ("stdout", "boolean", "Redirect the standard output stream of the pod for this call."),
    ("tty", "boolean", "TTY if true indicates that a tty will be allocated for the call. Defaults to false."),
];

/// What an operation takes and gives.
pub(super) struct Operation<'a> {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) tag: &'a str,
    /// `x-kubernetes-action`.
    pub(super) action: &'a str,
    pub(super) gvk: Option<&'a GroupVersionKind>,
    pub(super) parameters: &'a [Parameter],
    /// The type of the body.
    pub(super) body: Option<&'a str>,
    /// The type of the answer; a string if none.
    pub(super) answer: Option<&'a str>,
    /// The status codes of success.
    pub(super) codes: &'a [(&'a str, &'a str)],
}

pub(super) const OK: &[(&str, &str)] = &[("200", "OK")];
pub(super) const CREATED: &[(&str, &str)] = &[("200", "OK"), ("201", "Created")];
pub(super) const CREATED_OR_ACCEPTED: &[(&str, &str)] = &[("200", "OK"), ("201", "Created"), ("202", "Accepted")];
pub(super) const ACCEPTED: &[(&str, &str)] = &[("200", "OK"), ("202", "Accepted")];

const PATCH_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

impl Operation<'_> {
    pub(super) fn write(&self, dialect: Dialect) -> Value {
        let mut out = Map::new();
        let mut put = |key: &str, value: Value| {
            out.insert(key.to_owned(), value);
        };
        put("description", self.text.as_str().into());
        put("operationId", self.id.as_str().into());
        put("tags", json!([self.tag]));
        let mut parameters: Vec<Value> = Vec::new();
        let is_patch = self.action == "patch";
        // kubectl sends what is listed here: how to merge by strategy, only the table's own types say.
        let custom = self.gvk.is_some_and(|gvk| Schema::builtin().type_by_kind(gvk).is_none());
        let patch_types: Vec<&str> =
            PATCH_TYPES.into_iter().filter(|media| !custom || !media.contains("strategic")).collect();
        let body_types: &[&str] = if is_patch { &patch_types } else { &["*/*"] };
        if let Some(body) = self.body {
            let schema = dialect.reference(body);
            let required = !self.action.starts_with("delete");
            match dialect {
                Dialect::V2 => {
                    put("consumes", json!(body_types));
                    parameters.push(json!({ "in": "body", "name": "body", "required": required, "schema": schema }));
                }
                Dialect::V3 => {
                    let content: Map<_, _> =
                        body_types.iter().map(|m| ((*m).to_owned(), json!({ "schema": schema }))).collect();
                    put("requestBody", json!({ "content": content, "required": required }));
                }
            }
        } else if dialect == Dialect::V2 {
            put("consumes", json!(["*/*"]));
        }
        parameters.extend(self.parameters.iter().map(|p| query(dialect, p)));
        if !parameters.is_empty() {
            put("parameters", parameters.into());
        }
        if dialect == Dialect::V2 {
            put("produces", if self.answer.is_some() { json!(MEDIA_TYPES) } else { json!(["*/*"]) });
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
                Dialect::V3 => {
                    let types: &[&str] = if self.answer.is_some() { &MEDIA_TYPES } else { &["*/*"] };
                    let content: Map<_, _> =
                        types.iter().map(|m| ((*m).to_owned(), json!({ "schema": schema }))).collect();
                    json!({ "description": text, "content": content })
                }
            };
            out.insert((*code).to_owned(), answer);
        }
        out.insert("401".into(), json!({ "description": "Unauthorized" }));
        Value::Object(out)
    }
}

/// A query parameter.
pub(super) fn query(dialect: Dialect, (name, ty, text): &Parameter) -> Value {
    match dialect {
        Dialect::V2 => json!({ "description": text, "in": "query", "name": name, "type": ty, "uniqueItems": true }),
        Dialect::V3 => {
            json!({ "description": text, "in": "query", "name": name, "schema": { "type": ty, "uniqueItems": true } })
        }
    }
}

/// A parameter in the path.
pub(super) fn in_path(dialect: Dialect, name: &str, text: &str) -> Value {
    match dialect {
        Dialect::V2 => {
            json!({ "description": text, "in": "path", "name": name, "required": true, "type": "string", "uniqueItems": true })
        }
        Dialect::V3 => {
            json!({ "description": text, "in": "path", "name": name, "required": true, "schema": { "type": "string", "uniqueItems": true } })
        }
    }
}
