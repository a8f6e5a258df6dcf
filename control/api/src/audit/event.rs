//! One event (`audit.k8s.io/v1` Event) as a line of JSON, with its fields in kube-apiserver's order. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use orlop_auth::UserInfo;
use serde::Serialize;
use serde_json::{Map, Value};

use super::policy::{Level, Stage};
use crate::object::meta;
use crate::request::RequestInfo;
use crate::status::Status;

/// What is known of a request so far.
#[derive(Debug, Default)]
pub struct Event {
    /// How much is written.
    pub level: Level,
    /// The request's name.
    pub id: String,
    /// Path and query.
    pub uri: String,
    /// Verb.
    pub verb: &'static str,
    /// Who sent it; nobody if that was not to be found out.
    pub user: Option<UserInfo>,
    /// As whom.
    pub impersonated: Option<UserInfo>,
    /// By which verb of constrained impersonation; empty for the older way.
    pub constraint: String,
    /// From where.
    pub source_ips: Vec<String>,
    /// With what.
    pub user_agent: String,
    /// About what, if it is about a resource.
    pub object: Option<ObjectReference>,
    /// What came of it.
    pub status: Option<ResponseStatus>,
    /// The object that was sent, JSON.
    pub request_object: Option<Vec<u8>>,
    /// The object that was answered, JSON.
    pub response_object: Option<Vec<u8>>,
    /// When it came.
    pub received: Timestamp,
    /// What else there is to say.
    pub annotations: BTreeMap<String, String>,
}

/// The object of a request.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReference {
    #[serde(skip_serializing_if = "String::is_empty")]
    resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    subresource: String,
}

impl ObjectReference {
    /// What a request names.
    pub fn new(info: &RequestInfo, name: &str) -> Self {
        Self {
            resource: info.resource.clone(),
            namespace: info.namespace.clone(),
            name: name.to_owned(),
            api_group: info.group.clone(),
            api_version: info.version.clone(),
            subresource: info.subresource.clone(),
            ..Self::default()
        }
    }

    /// Takes from the object that was sent what the path does not say.
    pub fn complete(&mut self, object: &Value) {
        let fields = [
            (&mut self.namespace, "namespace"),
            (&mut self.name, "name"),
            (&mut self.uid, "uid"),
            (&mut self.resource_version, "resourceVersion"),
        ];
        for (field, key) in fields.into_iter().filter(|(field, _)| field.is_empty()) {
            *field = meta(object, key).to_owned();
        }
    }
}

/// What came of a request (`metav1.Status` without its `kind`).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ResponseStatus {
    metadata: Map<String, Value>,
    #[serde(skip_serializing_if = "str::is_empty")]
    status: Cow<'static, str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
    #[serde(skip_serializing_if = "is_zero")]
    code: u16,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(code: &u16) -> bool {
    *code == 0
}

impl ResponseStatus {
    /// Nothing but words.
    pub fn saying(message: String) -> Self {
        Self { message, ..Self::default() }
    }

    /// Nobody was there to take the answer.
    pub fn closed_early() -> Self {
        Self { status: "Success".into(), code: 200, ..Self::saying("Connection closed early".into()) }
    }

    /// The server failed.
    pub fn panicked(why: &str) -> Self {
        let message = format!("APIServer panic'd: {why}");
        Self { status: "Failure".into(), reason: "InternalError".into(), code: 500, ..Self::saying(message) }
    }

    /// A refusal.
    pub fn refused(status: &Status) -> Self {
        Self {
            status: "Failure".into(),
            reason: status.reason.clone().into_owned(),
            details: status.details.as_ref().map(|details| Value::Object((**details).clone())),
            code: status.code,
            ..Self::saying(status.message.clone())
        }
    }

    /// A `Status` that was answered.
    pub fn answered(status: &Value) -> Self {
        let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
        Self {
            status: text("status").into(),
            reason: text("reason"),
            details: Some(status["details"].clone()).filter(|details| !details.is_null()),
            code: status["code"].as_u64().and_then(|code| code.try_into().ok()).unwrap_or_default(),
            ..Self::saying(text("message"))
        }
    }

    /// With the code that was sent.
    pub fn with_code(self, code: u16) -> Self {
        Self { code, ..self }
    }
}

/// As [`UserInfo`], of which a nobody has no name either.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    username: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    groups: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: &'a BTreeMap<String, Vec<String>>,
}

impl<'a> Shown<'a> {
    fn of(user: &'a UserInfo) -> Self {
        Self { username: &user.name, uid: &user.uid, groups: &user.groups, extra: &user.extra }
    }
}

/// An event up to its objects.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    kind: &'static str,
    api_version: &'static str,
    level: Level,
    #[serde(rename = "auditID")]
    audit_id: &'a str,
    stage: Stage,
    #[serde(rename = "requestURI")]
    request_uri: &'a str,
    verb: &'a str,
    user: Shown<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    impersonated_user: Option<Shown<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication_metadata: Option<AuthenticationMetadata<'a>>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "<[String]>::is_empty")]
    source_ips: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    user_agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<&'a ObjectReference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_status: Option<&'a ResponseStatus>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AuthenticationMetadata<'a> {
    impersonation_constraint: &'a str,
}

/// And what comes after them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tail<'a> {
    request_received_timestamp: String,
    stage_timestamp: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

/// `metav1.MicroTime`.
fn micro_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

impl Event {
    /// The line of a stage that was reached then, with its end.
    pub fn line(&self, stage: Stage, at: Timestamp) -> Result<Vec<u8>, serde_json::Error> {
        let nobody = UserInfo::default();
        let constraint = Some(self.constraint.as_str()).filter(|constraint| !constraint.is_empty());
        let mut line = serde_json::to_vec(&Head {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: self.level,
            audit_id: &self.id,
            stage,
            request_uri: &self.uri,
            verb: self.verb,
            user: Shown::of(self.user.as_ref().unwrap_or(&nobody)),
            impersonated_user: self.impersonated.as_ref().map(Shown::of),
            authentication_metadata: constraint
                .map(|impersonation_constraint| AuthenticationMetadata { impersonation_constraint }),
            source_ips: &self.source_ips,
            user_agent: &self.user_agent,
            object_ref: self.object.as_ref(),
            response_status: self.status.as_ref(),
        })?;
        let tail = serde_json::to_vec(&Tail {
            request_received_timestamp: micro_time(self.received),
            stage_timestamp: micro_time(at),
            annotations: &self.annotations,
        })?;
        // Both are objects of which at least one field is always there.
        line.pop();
        for (key, object) in [("requestObject", &self.request_object), ("responseObject", &self.response_object)] {
            let Some(object) = object else { continue };
            line.extend_from_slice(format!(",\"{key}\":").as_bytes());
            // In JSON a line's end is never part of a text.
            line.extend(object.iter().filter(|byte| !matches!(byte, b'\n' | b'\r')));
        }
        line.push(b',');
        line.extend_from_slice(&tail[1..]);
        line.push(b'\n');
        Ok(line)
    }
}

/// Takes the record of field owners out of an object, of a list out of its items and of a Table out of its rows.
pub fn drop_managed_fields(object: &mut Value) {
    let drop = |object: &mut Value| {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.shift_remove("managedFields");
        }
    };
    drop(object);
    let kind = object["kind"].as_str().unwrap_or_default();
    if kind == "Table" {
        let rows = object.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten();
        rows.filter_map(|row| row.get_mut("object")).for_each(drop);
    } else if kind.ends_with("List") {
        object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten().for_each(drop);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_stand_in_the_order_of_the_original() {
        let info = RequestInfo {
            is_resource: true,
            version: "v1".into(),
            namespace: "a".into(),
            resource: "configmaps".into(),
            ..RequestInfo::default()
        };
        let mut object = ObjectReference::new(&info, "");
        object.complete(&json!({"metadata": {"name": "m", "namespace": "b", "uid": "u", "resourceVersion": "7"}}));
        let refused = Status::forbidden("", "configmaps", "m", "no");
        let mut user = UserInfo::new("eve", ["g"]);
        user.extra.insert("k".into(), vec!["v".into()]);
        let received: Timestamp = "2026-11-22T15:00:00.000001Z".parse().unwrap();
        let event = Event {
            level: Level::RequestResponse,
            id: "id".into(),
            uri: "/api/v1/namespaces/a/configmaps?x=%22".into(),
            verb: "create",
            user: Some(user),
            impersonated: Some(UserInfo { uid: "1".into(), ..UserInfo::default() }),
            constraint: "impersonate:user-info".into(),
            source_ips: vec!["10.0.0.1".into()],
            user_agent: "kubectl".into(),
            object: Some(object),
            status: Some(ResponseStatus::refused(&refused)),
            request_object: Some(b"{\n \"a\": \"\\n\"\r\n}".to_vec()),
            response_object: Some(b"{}".to_vec()),
            received,
            annotations: [("b".into(), "2".into()), ("a".into(), "1".into())].into(),
        };
        let line = String::from_utf8(event.line(Stage::ResponseComplete, received).unwrap()).unwrap();
        let expected = concat!(
            r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"id","stage":"ResponseComplete","#,
            r#""requestURI":"/api/v1/namespaces/a/configmaps?x=%22","verb":"create","#,
            r#""user":{"username":"eve","groups":["g","system:authenticated"],"extra":{"k":["v"]}},"#,
            r#""impersonatedUser":{"uid":"1"},"authenticationMetadata":{"impersonationConstraint":"impersonate:user-info"},"#,
            r#""sourceIPs":["10.0.0.1"],"userAgent":"kubectl","#,
            r#""objectRef":{"resource":"configmaps","namespace":"a","name":"m","uid":"u","apiVersion":"v1","resourceVersion":"7"},"#,
            r#""responseStatus":{"metadata":{},"status":"Failure","message":"configmaps \"m\" is forbidden: no","#,
            r#""reason":"Forbidden","details":{"name":"m","kind":"configmaps"},"code":403},"#,
            r#""requestObject":{ "a": "\n"},"responseObject":{},"#,
            r#""requestReceivedTimestamp":"2026-11-22T15:00:00.000001Z","stageTimestamp":"2026-11-22T15:00:00.000001Z","#,
            r#""annotations":{"a":"1","b":"2"}}"#,
            "\n"
        );
        assert_eq!(line, expected);
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let at: Timestamp = "2026-11-22T15:00:00Z".parse().unwrap();
        let event = Event { level: Level::Metadata, id: "id".into(), uri: "/".into(), verb: "get", ..Event::default() };
        let line = String::from_utf8(event.line(Stage::RequestReceived, at).unwrap()).unwrap();
        assert_eq!(
            line,
            concat!(
                r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"id","stage":"RequestReceived","#,
                r#""requestURI":"/","verb":"get","user":{},"requestReceivedTimestamp":"1970-01-01T00:00:00.000000Z","#,
                r#""stageTimestamp":"2026-11-22T15:00:00.000000Z"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn managed_fields_are_taken_out_wherever_they_are_told() {
        let owned = || json!({"kind": "Pod", "metadata": {"name": "a", "managedFields": [1]}});
        let free = json!({"kind": "Pod", "metadata": {"name": "a"}});
        let mut pod = owned();
        drop_managed_fields(&mut pod);
        assert_eq!(pod, free);
        let mut list = json!({"kind": "PodList", "metadata": {}, "items": [owned(), owned()]});
        drop_managed_fields(&mut list);
        assert_eq!(list["items"], json!([free, free]));
        let mut table =
            json!({"kind": "Table", "rows": [{"cells": [], "object": owned()}, {"cells": [], "object": null}]});
        drop_managed_fields(&mut table);
        assert_eq!(table["rows"], json!([{"cells": [], "object": free}, {"cells": [], "object": null}]));
        // What an object calls its items is its own business.
        let mut other = json!({"kind": "Basket", "items": [owned()]});
        drop_managed_fields(&mut other);
        assert_eq!(other["items"], json!([owned()]));
    }
}
