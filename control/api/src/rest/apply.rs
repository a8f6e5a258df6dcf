//! Server-side apply: `PATCH` with `application/apply-patch+yaml`, and the record of field owners that it needs.
//!
//! Every write is recorded. An object without a record (one that the server itself made, or whose record a client had forgotten) belongs
//! to `before-first-apply` when it is applied.

mod last_applied;

use std::borrow::Cow;
use std::sync::Arc;

use http::Response;
use http::header::USER_AGENT;
use orlop_schema::TypeRef;
use orlop_schema::apply::{Applied, Conflict, Manager, Operation, Who};
use serde_json::Value;

use super::{Call, now};
use crate::object::{Object, meta, metadata_mut};
use crate::status::{Cause, Status};
use crate::strategy;
use crate::wire::{self, Body};

const MEDIA_TYPE: &str = "application/apply-patch+yaml";
/// Metadata that a client may set to nothing.
const NULLABLE: [&str; 4] = ["labels", "annotations", "finalizers", "ownerReferences"];
/// An object that comes and goes while it is applied is tried again so often.
const ATTEMPTS: usize = 5;

impl Call {
    /// Whether this is a server-side apply.
    pub fn applies(&self) -> bool {
        self.info.verb == "patch" && wire::media_type(&self.headers) == MEDIA_TYPE
    }

    /// What an apply asks for.
    pub fn application(&self) -> Result<Application<'_>, Status> {
        let ty = self.ty().ok_or_else(|| Status::unsupported_media_type(&[]))?;
        let who = self.applier()?;
        Ok(Application { call: self, ty, config: self.config(ty)?, who })
    }

    pub(super) async fn apply(self: &Arc<Self>) -> Result<Response<Body>, Status> {
        let application = self.application()?;
        let cache = self.cache()?;
        for _ in 0..ATTEMPTS {
            let found = self.server.registry().get(&cache, self.namespace(), &self.info.name).await?;
            let result = match found {
                None if self.info.subresource.is_empty() => self.apply_new(&application).await.map(|o| (201, o)),
                _ => self.change(&mut |live| application.to(live)).await.map(|o| (200, o)),
            };
            match result {
                Ok((code, object)) => return self.render_object(code, object).await,
                // It came or went in between.
                Err(status) if status.reason == "AlreadyExists" => {}
                Err(status) if status.code == 404 && self.info.subresource.is_empty() && self.is_there(&status) => {}
                Err(status) => return Err(status),
            }
        }
        Err(Status::modified(&self.resource, &self.info.name))
    }

    /// Whether a refusal means this very object (and not its namespace).
    fn is_there(&self, status: &Status) -> bool {
        *status == Status::not_found(&self.resource, &self.info.name)
    }

    fn applier(&self) -> Result<Who, Status> {
        let name = self.query.text("fieldManager");
        if name.is_empty() {
            let cause = Cause::required("fieldManager", "is required for apply patch");
            return Err(Status::invalid_as("meta.k8s.io", "PatchOptions", "", vec![cause]));
        }
        Ok(self.who(name, Operation::Apply))
    }

    fn who(&self, name: &str, operation: Operation) -> Who {
        Who {
            name: name.to_owned(),
            operation,
            api_version: self.written().0,
            subresource: self.info.subresource.clone(),
            time: now(),
        }
    }

    /// The body, without what this endpoint does not write.
    fn config(&self, ty: TypeRef<'_>) -> Result<Value, Status> {
        let (api_version, kind) = self.written();
        let (mut config, twice) = self.configuration()?;
        let text = |field: &str| config[field].as_str().unwrap_or_default();
        if (text("apiVersion"), text("kind")) != (api_version.as_str(), kind.as_str()) {
            return Err(Status::bad_request(format!(
                "invalid object type: {}",
                go_kind(text("apiVersion"), text("kind"))
            )));
        }
        if !config["metadata"]["managedFields"].is_null() {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        let wrong = ty.malformed(&config);
        if !wrong.is_empty() {
            return Err(self.untyped(&config, &wrong));
        }
        let mut known = config.clone();
        let unknown = self.prune_body(&mut known)?;
        if self.resource.custom.is_some() {
            config = known;
        }
        if !unknown.is_empty() {
            let paths = unknown.iter().filter_map(|text| text.strip_prefix("unknown field \"")?.strip_suffix('"'));
            let lines: Vec<String> = paths.map(|path| format!(".{path}: field not declared in schema")).collect();
            return Err(self.untyped(&config, &lines));
        }
        if let Some(twice) = twice {
            match self.query.text("fieldValidation") {
                "Strict" => {
                    let why = format!("error strict decoding YAML: error converting YAML to JSON: {twice}");
                    return Err(Status::bad_request(why));
                }
                "Ignore" => {}
                _ => self.warn(twice.rsplit("\n  ").next().unwrap_or_default()),
            }
        }
        if let Some(metadata) = metadata_mut(&mut config) {
            metadata.retain(|name, value| !value.is_null() || NULLABLE.contains(&name.as_str()));
        }
        let has_status = strategy::rules(&self.resource).status;
        if let Some(fields) = config.as_object_mut() {
            match self.info.subresource.as_str() {
                "" if has_status => fields.retain(|key, _| key != "status"),
                "status" => {
                    fields.retain(|key, _| matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
                    let labelled = self.resource.group.is_empty() && self.resource.custom.is_none();
                    if !labelled && let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
                        metadata.shift_remove("labels");
                    }
                }
                _ => {}
            }
        }
        Ok(config)
    }

    /// The body as it was sent, and which of its keys stands twice.
    fn configuration(&self) -> Result<(Value, Option<String>), Status> {
        let bad = |why: String| Status::bad_request(format!("error decoding YAML: {why}"));
        let (config, twice) =
            wire::parse_yaml(&self.body).map_err(|why| bad(format!("error converting YAML to JSON: {why}")))?;
        match config {
            Value::Object(_) => Ok((config, twice)),
            Value::Null => Ok((Value::Object(Default::default()), None)),
            other => Err(bad(format!(
                "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                super::body::go_kind(&other)
            ))),
        }
    }

    fn untyped(&self, config: &Value, why: &[String]) -> Status {
        let told = if why.len() == 1 { why[0].clone() } else { format!("errors:\n  {}", why.join("\n  ")) };
        Status::unknown(format!(
            "failed to create typed patch object ({}/{}; {}): {told}",
            meta(config, "namespace"),
            meta(config, "name"),
            go_kind(&self.written().0, &self.written().1)
        ))
    }

    async fn apply_new(self: &Arc<Self>, application: &Application<'_>) -> Result<Arc<Object>, Status> {
        let creation = crate::request::RequestInfo { verb: "create", ..self.info.clone() };
        self.server.authorizer().check(&self.user, &creation, &self.query)?;
        let uid = meta(&application.config, "uid");
        if !uid.is_empty() {
            let why =
                format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
            return Err(Status::conflict(&self.resource, &self.info.name, why));
        }
        let object = application.to(&Value::Null)?;
        self.create_object(object).await
    }

    /// Records what any other write than an apply changes; `old` is null for a creation. Who may write the object itself may also say
    /// anew who owns what, or have it forgotten.
    pub fn track(&self, object: &mut Value, old: &Value) {
        if self.applies() {
            return;
        }
        let Some(ty) = self.ty() else { return };
        let said =
            metadata_mut(object).and_then(|own| own.get_mut("managedFields")).map(Value::take).unwrap_or_default();
        let recorded = &old["metadata"]["managedFields"];
        if said == serde_json::json!([{}]) {
            return record(object, &[]);
        }
        let anew = self.info.subresource.is_empty() && Manager::are_readable(&said);
        let managers = Manager::read(if anew { &said } else { recorded });
        // What is nobody's stays so until it is applied.
        if managers.is_empty() && !old.is_null() {
            return record(object, &[]);
        }
        let agent = self.headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let name = match self.query.text("fieldManager") {
            "" => agent.split('/').next().filter(|n| !n.is_empty()).unwrap_or("unknown"),
            name => name,
        };
        let who = self.who(name, Operation::Update);
        let mut written = Cow::Borrowed(&*object);
        let has_status = self.info.subresource.is_empty() && strategy::rules(&self.resource).status;
        if has_status && object.get("status") != old.get("status") {
            // That is not written here.
            let fields = written.to_mut();
            match old.get("status") {
                Some(status) => fields["status"] = status.clone(),
                None => drop(fields.as_object_mut().and_then(|fields| fields.shift_remove("status"))),
            }
        }
        let tracked = ty.track(old, &written, managers, &who);
        // A list with elements that cannot be told apart has no fields: the record stays as it was.
        match tracked {
            Ok(managers) => record(object, &managers),
            Err(error) => {
                tracing::debug!(%error, name = meta(object, "name"), "field owners are not recorded");
                record(object, &Manager::read(recorded));
            }
        }
    }
}

/// An apply: whose configuration it is, and of what.
pub struct Application<'a> {
    call: &'a Call,
    ty: TypeRef<'a>,
    config: Value,
    who: Who,
}

impl Application<'_> {
    /// What the configuration makes of the live object; null if there is none.
    pub fn to(&self, live: &Value) -> Result<Value, Status> {
        let Self { call, ty, config, who } = self;
        let managers = Manager::read(&live["metadata"]["managedFields"]);
        let apply = |force| {
            let applied = ty.apply(live, config, managers.clone(), who, force);
            applied.map_err(|e| Status::unknown(format!("failed to create typed live object: {e}")))
        };
        let mut applied = apply(call.query.flag("force"))?;
        if let Applied::Conflicts(conflicts) = &mut applied
            && let Some(own) = last_applied::fields(*ty, live, who)
        {
            conflicts.retain(|conflict| !own.has(&conflict.path));
            if conflicts.is_empty() {
                applied = apply(true)?;
            }
        }
        match applied {
            Applied::Conflicts(conflicts) => Err(refuse(conflicts)),
            Applied::Done(mut object, managers) => {
                call.check_name(&object)?;
                last_applied::renew(&mut object, config, who);
                // What the config says in other words than the server, or sets to nothing.
                call.prune_body(&mut object)?;
                record(&mut object, &managers);
                if let Some(metadata) = metadata_mut(&mut object) {
                    // It builds on what is there now, unless the config names a version.
                    if config["metadata"]["resourceVersion"].is_null() {
                        metadata.shift_remove("resourceVersion");
                    }
                }
                Ok(object)
            }
        }
    }
}

/// Writes down who owns what; nobody is not written.
fn record(object: &mut Value, managers: &[Manager]) {
    let Some(metadata) = metadata_mut(object) else { return };
    if managers.is_empty() {
        metadata.shift_remove("managedFields");
    } else {
        metadata.insert("managedFields".into(), Manager::write(managers));
    }
}

/// A kind as Go prints one: `apps/v1, Kind=Deployment`, `/v1, Kind=Pod`.
fn go_kind(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

/// kube-apiserver's words (`handlers/fieldmanager/conflict.go`).
fn refuse(mut conflicts: Vec<Conflict>) -> Status {
    conflicts.sort_by(|a, b| (&a.who.name, &a.path).cmp(&(&b.who.name, &b.path)));
    let message = match conflicts.as_slice() {
        [one] => format!("Apply failed with 1 conflict: conflict with {}: {}", one.who.describe(), one.path),
        many => {
            let mut lines = Vec::new();
            let mut last = String::new();
            for conflict in many {
                let manager = conflict.who.describe();
                if manager != last {
                    lines.push(format!("conflicts with {manager}:"));
                    last = manager;
                }
                lines.push(format!("- {}", conflict.path));
            }
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    conflicts.iter().fold(Status::apply_conflict(message), |status, conflict| {
        let message = format!("conflict with {}", conflict.who.describe());
        status.caused_by("FieldManagerConflict", &message, &conflict.path.to_string())
    })
}
