//! `DELETE`: preconditions, propagation, finalizers, and graceful deletion of pods.

use std::sync::Arc;

use http::Response;
use jiff::{SignedDuration, Timestamp};
use orlop_schema::Schema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Call;
use super::body::{GO_TYPE, go_kind};
use crate::object::{Object, meta, metadata_mut};
use crate::registry::Outcome;
use crate::status::Status;
use crate::wire::{self, Body, BodyFormat, decode_object};
use crate::{admission, convert};

const ATTEMPTS: usize = 32;
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// `metav1.DeleteOptions`, from the body or the query.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteOptions {
    grace_period_seconds: Option<i64>,
    preconditions: Option<Preconditions>,
    pub(super) orphan_dependents: Option<bool>,
    pub(super) propagation_policy: Option<String>,
    pub(super) dry_run: Vec<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Preconditions {
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_version: Option<String>,
}

/// Whether an object that is being deleted has nothing left to wait for.
pub(super) fn is_finished(object: &Value) -> bool {
    let metadata = &object["metadata"];
    metadata["deletionTimestamp"].is_string()
        && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && metadata["finalizers"].as_array().is_none_or(Vec::is_empty)
        && object["spec"]["finalizers"].as_array().is_none_or(|f| f.is_empty() || object["kind"] != "Namespace")
}

impl DeleteOptions {
    /// From an object; `null` is no options.
    pub fn from_value(value: Value) -> Result<Self, Status> {
        match value {
            Value::Null => Ok(Self::default()),
            value => {
                serde_json::from_value(value).map_err(|e| Status::bad_request(format!("invalid DeleteOptions: {e}")))
            }
        }
    }

    /// As the object that admission sees.
    pub fn to_value(&self) -> Value {
        let mut value = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        let fields = serde_json::to_value(self).unwrap_or_default();
        for (field, set) in fields.as_object().into_iter().flatten() {
            if !set.is_null() && *set != json!([]) {
                value[field] = set.clone();
            }
        }
        value
    }

    /// Nothing is to be stored.
    pub fn only_try(&mut self) {
        self.dry_run = vec!["All".into()];
    }

    /// Whether nothing is to be stored.
    pub fn is_dry_run(&self) -> bool {
        !self.dry_run.is_empty()
    }
}

impl Call {
    pub(super) async fn delete(self: &Arc<Self>) -> Result<Response<Body>, Status> {
        let options = self.delete_options()?;
        let (object, gone) = self.delete_object(&self.info.namespace, &self.info.name, &options).await?;
        // As kube-apiserver: most deletions answer with a Status, those still under way and some kinds with the object.
        let returns_object = !gone
            || match &*self.resource.group {
                "" => matches!(
                    self.resource.plural.as_str(),
                    "pods"
                        | "services"
                        | "serviceaccounts"
                        | "persistentvolumes"
                        | "persistentvolumeclaims"
                        | "podtemplates"
                        | "resourcequotas"
                ),
                "storage.k8s.io" => self.resource.plural != "csistoragecapacities",
                "resource.k8s.io" => true,
                _ => false,
            };
        if returns_object {
            return self.render_object(200, object).await;
        }
        let value = object.value();
        let mut details = json!({"name": &*object.name, "kind": self.resource.plural, "uid": meta(&value, "uid")});
        if !self.resource.group.is_empty() {
            details["group"] = self.resource.group.as_str().into();
        }
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
        wire::value(200, self.accept.encoding, &status)
    }

    pub(super) async fn delete_collection(self: &Arc<Self>) -> Result<Response<Body>, Status> {
        let options = self.delete_options()?;
        let mut page = self.page().await?;
        let mut deleted = Vec::with_capacity(page.objects.len());
        for object in std::mem::take(&mut page.objects) {
            match self.delete_object(&object.namespace, &object.name, &options).await {
                Ok((object, _)) => deleted.push(object),
                Err(status) if status.code == 404 => {}
                Err(status) => return Err(status),
            }
        }
        page.objects = self.present(deleted).await?;
        self.render_list(page)
    }

    fn delete_options(&self) -> Result<DeleteOptions, Status> {
        let mut options = if self.body.is_empty() {
            DeleteOptions::default()
        } else {
            let format = BodyFormat::from_headers(&self.headers)?;
            if format == BodyFormat::Json {
                let unread =
                    |why: String| Status::bad_request(format!("couldn't get version/kind; json parse error: {why}"));
                let parsed = orlop_schema::decode::parse(&self.body).map_err(|error| unread(error.to_string()))?;
                if !parsed.object.is_object() {
                    let kind = go_kind(&parsed.object);
                    return Err(unread(format!("json: cannot unmarshal {kind} into Go value of type {GO_TYPE}")));
                }
            }
            let mut body = decode_object(format, &self.body, "v1", "DeleteOptions")?;
            if let Some(kind) = body["kind"].as_str().filter(|kind| !matches!(*kind, "" | "DeleteOptions")) {
                let version = body["apiVersion"].as_str().unwrap_or_default();
                let scheme = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27";
                let why = format!("no kind \"{kind}\" is registered for version \"{version}\" in scheme \"{scheme}\"");
                return Err(Status::bad_request(why));
            }
            if let Some(ty) = Schema::builtin().type_named(DELETE_OPTIONS) {
                ty.prune(&mut body).map_err(|error| Status::bad_request(error.to_string()))?;
            }
            self.trail.requested(&Value::Null, || {
                let mut whole = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
                for (field, value) in body.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
                    whole[field] = value.clone();
                }
                whole
            });
            serde_json::from_value(body).map_err(|e| Status::bad_request(format!("invalid DeleteOptions: {e}")))?
        };
        if let Some(seconds) = self.query.integer("gracePeriodSeconds")? {
            options.grace_period_seconds.get_or_insert(seconds);
        }
        if let Some(policy) = self.query.get("propagationPolicy") {
            options.propagation_policy.get_or_insert(policy.to_owned());
        }
        if self.query.get("orphanDependents").is_some() {
            options.orphan_dependents.get_or_insert(self.query.flag("orphanDependents"));
        }
        options.dry_run.extend(self.query.all("dryRun").filter(|value| !value.is_empty()).map(Into::into));
        self.check_delete_options(&options)?;
        Ok(options)
    }

    /// Deletes one object, or begins to. The flag says whether it is gone.
    pub async fn delete_object(
        self: &Arc<Self>,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<(Arc<Object>, bool), Status> {
        let namespace = if self.resource.namespaced { namespace } else { "" };
        let cache = self.cache()?;
        let registry = self.server.registry();
        let mut current = registry.get(&cache, namespace, name).await?;
        for _ in 0..ATTEMPTS {
            let Some(old_object) = current else { return Err(Status::not_found(&self.resource, name)) };
            let old = old_object.value();
            self.check_preconditions(&old, options)?;
            let mut object = old.clone();
            let shown = self.value_of(&*self.present_one(old_object.clone()).await?);
            admission::delete(self, &shown, options.to_value(), options.is_dry_run()).await?;
            let dry_run = options.is_dry_run();
            self.mark_deleted(&mut object, options);
            let outcome = if is_finished(&object) {
                if dry_run {
                    return Ok((old_object, true));
                }
                match registry.delete(&cache, &old_object).await? {
                    Outcome::Done(gone) => {
                        return Ok((gone, true));
                    }
                    stale => stale,
                }
            } else if object == old || dry_run {
                return Ok((Arc::new(Object::from_value(&cache.resource, &object, old_object.revision)), false));
            } else {
                convert::to_storage(&cache.resource, &mut object);
                registry.put(&cache, object, old_object.revision).await?
            };
            match outcome {
                Outcome::Done(object) => return Ok((object, false)),
                Outcome::Stale(found) => current = found,
            }
        }
        Err(Status::modified(&self.resource, name))
    }

    fn check_preconditions(&self, object: &Value, options: &DeleteOptions) -> Result<(), Status> {
        let Some(wanted) = &options.preconditions else { return Ok(()) };
        let name = meta(object, "name");
        if let Some(uid) = wanted.uid.as_deref().filter(|uid| *uid != meta(object, "uid")) {
            let why = format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). \
                 The object might have been deleted and then recreated",
                meta(object, "uid")
            );
            return Err(Status::conflict_as(&self.resource.group, &self.resource.kind, name, why));
        }
        if let Some(version) = wanted.resource_version.as_deref().filter(|v| *v != meta(object, "resourceVersion")) {
            let why = format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). \
                 The object might have been modified",
                meta(object, "resourceVersion")
            );
            return Err(Status::conflict_as(&self.resource.group, &self.resource.kind, name, why));
        }
        Ok(())
    }

    /// Sets the deletion timestamp, the grace period and the finalizers that the options ask for.
    fn mark_deleted(&self, object: &mut Value, options: &DeleteOptions) {
        let grace = self.grace_period(object, options);
        let Some(metadata) = metadata_mut(object) else { return };
        let mut finalizers: Vec<String> = metadata
            .get("finalizers")
            .and_then(Value::as_array)
            .map(|f| f.iter().filter_map(|v| v.as_str().map(Into::into)).collect())
            .unwrap_or_default();
        let said = finalizers.iter().any(|f| f == ORPHAN || f == FOREGROUND);
        let policy = options.propagation_policy.as_deref().or(match options.orphan_dependents {
            Some(true) => Some("Orphan"),
            Some(false) => Some("Background"),
            None if !said && self.orphans_by_default() => Some("Orphan"),
            None => None,
        });
        // Without a policy, finalizers that are there already keep their meaning.
        if let Some(policy) = policy {
            finalizers.retain(|f| f != ORPHAN && f != FOREGROUND);
            match policy {
                "Orphan" => finalizers.push(ORPHAN.into()),
                "Foreground" => finalizers.push(FOREGROUND.into()),
                _ => {}
            }
        }
        if finalizers.is_empty() {
            metadata.shift_remove("finalizers");
        } else {
            metadata.insert("finalizers".into(), json!(finalizers));
        }
        let running = metadata.get("deletionGracePeriodSeconds").and_then(Value::as_i64);
        let being_deleted = metadata.get("deletionTimestamp").is_some_and(Value::is_string);
        // A deletion that is under way can only be made shorter.
        if being_deleted && running.unwrap_or(0) <= grace {
            return;
        }
        let at = Timestamp::now().checked_add(SignedDuration::from_secs(grace)).unwrap_or_else(|_| Timestamp::now());
        metadata.insert("deletionTimestamp".into(), at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into());
        metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
        let generation = metadata.get("generation").cloned();
        // Being deleted is a change of what is desired.
        if !being_deleted && let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
            metadata.insert("generation".into(), (generation + 1).into());
        }
        if self.resource.plural == "namespaces" && self.resource.group.is_empty() {
            object["status"]["phase"] = "Terminating".into();
        }
        if self.resource.storage == crate::custom::DEFINITIONS && !being_deleted {
            crate::custom::mark_deleted(object, generation);
        }
    }

    /// Kinds older than the garbage collector leave their pods behind unless the client says what it wants; kubectl does.
    fn orphans_by_default(&self) -> bool {
        let old = matches!(self.resource.storage.as_str(), "controllers" | "jobs");
        if old && self.resource.plural == "jobs" {
            self.warn("child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning");
        }
        old
    }

    /// Seconds that a pod has to stop; everything else goes at once.
    fn grace_period(&self, object: &Value, options: &DeleteOptions) -> i64 {
        if self.resource.plural != "pods" || !self.resource.group.is_empty() {
            return 0;
        }
        let spec = &object["spec"];
        let unscheduled = spec["nodeName"].as_str().unwrap_or_default().is_empty();
        let finished = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        if unscheduled || finished {
            return 0;
        }
        match options.grace_period_seconds {
            Some(seconds) if seconds < 0 => 1,
            Some(seconds) => seconds,
            None => spec["terminationGracePeriodSeconds"].as_i64().unwrap_or(30),
        }
    }
}
