//! Server-side apply: `PATCH` with `application/apply-patch+yaml`, and the record of field owners that it needs.
//!
//! Every write is recorded. An object without a record (one that the server itself made, or whose record a client had forgotten) belongs
//! to `before-first-apply` when it is applied.

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
/// An object that comes and goes while it is applied is tried again so often.
const ATTEMPTS: usize = 5;

impl Call {
    /// Whether this is a server-side apply.
    pub(super) fn applies(&self) -> bool {
        self.info.verb == "patch" && wire::media_type(&self.headers) == MEDIA_TYPE
    }

    pub(super) async fn apply(self: &Arc<Self>) -> Result<Response<Body>, Status> {
        let (api_version, kind) = (self.resource.api_version(), &self.resource.kind);
        let ty = self.ty().ok_or_else(|| Status::unsupported_media_type(&[]))?;
        let who = self.applier(&api_version)?;
        let config = self.config(&api_version, kind)?;
        let cache = self.cache()?;
        for _ in 0..ATTEMPTS {
            let found = self.server.registry().get(&cache, self.namespace(), &self.info.name).await?;
            let result = match found {
                None if self.info.subresource.is_empty() => self.apply_new(ty, &config, &who).await.map(|o| (201, o)),
                _ => self.change(&mut |live| self.applied(ty, live, &config, &who)).await.map(|o| (200, o)),
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

    fn applier(&self, api_version: &str) -> Result<Who, Status> {
        let name = self.query.text("fieldManager");
        if name.is_empty() {
            let cause = Cause::required("fieldManager", "is required for apply patch");
            return Err(Status::invalid_as("meta.k8s.io", "PatchOptions", "", vec![cause]));
        }
        Ok(self.who(name, Operation::Apply, api_version))
    }

    fn who(&self, name: &str, operation: Operation, api_version: &str) -> Who {
        Who {
            name: name.to_owned(),
            operation,
            api_version: api_version.to_owned(),
            subresource: self.info.subresource.clone(),
            time: now(),
        }
    }

    /// The body, without what this endpoint does not write.
    fn config(&self, api_version: &str, kind: &str) -> Result<Value, Status> {
        self.names_its_type()?;
        let mut config = self.decode(api_version, kind)?;
        if !config["metadata"]["managedFields"].is_null() {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        let name = meta(&config, "name");
        if !name.is_empty() && name != self.info.name {
            let why =
                format!("the name of the object ({name}) does not match the name on the URL ({})", self.info.name);
            return Err(Status::bad_request(why));
        }
        if let Some(metadata) = metadata_mut(&mut config) {
            metadata.insert("name".into(), self.info.name.as_str().into());
            metadata.retain(|_, value| !value.is_null());
        }
        let has_status = strategy::rules(&self.resource).status;
        if let Some(fields) = config.as_object_mut() {
            match self.info.subresource.as_str() {
                "" if has_status => fields.retain(|key, _| key != "status"),
                "status" => {
                    fields.retain(|key, _| matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status"))
                }
                _ => {}
            }
        }
        Ok(config)
    }

    /// Unlike other writes, an apply says what it is.
    fn names_its_type(&self) -> Result<(), Status> {
        let text = std::str::from_utf8(&self.body).ok();
        let raw: Option<Value> = text.and_then(|text| serde_saphyr::from_str(text).ok());
        // What cannot be read is refused by whoever reads it in earnest.
        let Some(raw) = raw.filter(Value::is_object) else { return Ok(()) };
        let (version, kind) =
            (raw["apiVersion"].as_str().unwrap_or_default(), raw["kind"].as_str().unwrap_or_default());
        if version.is_empty() || kind.is_empty() {
            return Err(Status::bad_request(format!(
                "invalid object type: {}, Kind={kind}",
                if version.is_empty() { "/" } else { version }
            )));
        }
        Ok(())
    }

    async fn apply_new(self: &Arc<Self>, ty: TypeRef<'_>, config: &Value, who: &Who) -> Result<Arc<Object>, Status> {
        let creation = crate::request::RequestInfo { verb: "create", ..self.info.clone() };
        self.server.authorizer().check(&self.user, &creation, &self.query)?;
        let object = self.applied(ty, &Value::Null, config, who)?;
        self.create_object(object).await
    }

    /// What the config makes of the live object.
    fn applied(&self, ty: TypeRef<'_>, live: &Value, config: &Value, who: &Who) -> Result<Value, Status> {
        let managers = Manager::read(&live["metadata"]["managedFields"]);
        let applied = ty.apply(live, config, managers, who, self.query.flag("force"));
        match applied.map_err(|e| Status::bad_request(format!("failed to create typed patch object: {e}")))? {
            Applied::Conflicts(conflicts) => Err(refuse(conflicts)),
            Applied::Done(mut object, managers) => {
                if let Some(metadata) = metadata_mut(&mut object) {
                    metadata.insert("managedFields".into(), Manager::write(&managers));
                    // It builds on what is there now, unless the config names a version.
                    if config["metadata"]["resourceVersion"].is_null() {
                        metadata.shift_remove("resourceVersion");
                    }
                }
                Ok(object)
            }
        }
    }

    /// Records what any other write than an apply changes; `old` is null for a creation.
    pub(super) fn track(&self, object: &mut Value, old: &Value) {
        if self.applies() {
            return;
        }
        let api_version = self.resource.api_version();
        let Some(ty) = self.ty() else { return };
        let agent = self.headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let name = match self.query.text("fieldManager") {
            "" => agent.split('/').next().filter(|n| !n.is_empty()).unwrap_or("unknown"),
            name => name,
        };
        let who = self.who(name, Operation::Update, &api_version);
        let managers = Manager::read(&old["metadata"]["managedFields"]);
        // A list with elements that cannot be told apart has no fields: the record stays as it was.
        match ty.track(old, object, managers, &who) {
            Ok(managers) => object["metadata"]["managedFields"] = Manager::write(&managers),
            Err(error) => tracing::debug!(%error, name = meta(object, "name"), "field owners are not recorded"),
        }
    }
}

/// kube-apiserver's words (`handlers/fieldmanager/conflict.go`).
fn refuse(conflicts: Vec<Conflict>) -> Status {
    let message = match conflicts.as_slice() {
        [one] => format!("Apply failed with 1 conflict: conflict with {}: {}", one.manager.describe(), one.path),
        many => {
            let mut lines = Vec::new();
            let mut last = String::new();
            for conflict in many {
                let manager = conflict.manager.describe();
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
        let message = format!("conflict with {}", conflict.manager.describe());
        status.caused_by("FieldManagerConflict", &message, &conflict.path.to_string())
    })
}
