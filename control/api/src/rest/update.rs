//! `PUT`, and the loop that every change of an existing object goes through.

use std::sync::Arc;

use http::Response;
use serde_json::Value;

use super::Call;
use crate::allocation::{Reservation, keep_ports};
use crate::object::{Object, meta};
use crate::registry::Outcome;
use crate::status::Status;
use crate::wire::Body;
use crate::{admission, strategy};

/// A change that does not say on which `resourceVersion` it builds is tried again so often when others write in between.
const ATTEMPTS: usize = 32;

impl Call {
    pub(super) async fn update(self: &Arc<Self>) -> Result<Response<Body>, Status> {
        let object = self.decode(&self.resource.api_version(), &self.resource.kind)?;
        self.check_name(&object)?;
        self.check_namespace(&object)?;
        let changed = self.change(&mut |_| Ok(object.clone())).await?;
        self.render_object(200, changed).await
    }

    /// 400 unless a body names the object that the path does.
    pub fn check_name(&self, object: &Value) -> Result<(), Status> {
        let name = meta(object, "name");
        if name != self.info.name {
            return Err(Status::bad_request(if name.is_empty() {
                format!(
                    "the name of the object ({} based on URL) was undeterminable: name must be provided",
                    self.info.name
                )
            } else {
                format!("the name of the object ({name}) does not match the name on the URL ({})", self.info.name)
            }));
        }
        Ok(())
    }

    /// 400 if a body names another namespace than the path does.
    pub fn check_namespace(&self, object: &Value) -> Result<(), Status> {
        let (namespace, own) = (self.namespace(), meta(object, "namespace"));
        if !own.is_empty() && !namespace.is_empty() && own != namespace {
            let why = format!(
                "the namespace of the object ({own}) does not match the namespace on the request ({namespace})"
            );
            return Err(Status::bad_request(why));
        }
        Ok(())
    }

    /// Changes the object that the request names into what `next` makes of it. `next` sees the current object in the
    /// request's version and is called again if somebody else wrote in between, unless its result names the
    /// `resourceVersion` it builds on.
    pub async fn change(
        self: &Arc<Self>,
        next: &mut (dyn FnMut(&Value) -> Result<Value, Status> + Send),
    ) -> Result<Arc<Object>, Status> {
        let cache = self.cache()?;
        let registry = self.server.registry();
        let (namespace, name) = (self.namespace(), self.info.name.as_str());
        let mut current = registry.get(&cache, namespace, name).await?;
        for _ in 0..ATTEMPTS {
            let Some(old_object) = current else { return Err(Status::not_found(&self.resource, name)) };
            let old = self.value_of(&*self.present_one(old_object.clone()).await?);
            let mut object = next(&old)?;
            let based_on = meta(&object, "resourceVersion").to_owned();
            if !based_on.is_empty() && based_on.parse::<u64>().is_err() {
                return Err(Status::unknown(super::read::no_number(&based_on)));
            }
            if !based_on.is_empty() && based_on != "0" && based_on != old_object.revision.to_string() {
                return Err(Status::modified(&self.resource, name));
            }
            if strategy::rules(&self.resource).names_version
                && self.info.verb == "update"
                && self.info.subresource != "scale"
                && matches!(based_on.as_str(), "" | "0")
            {
                return Err(crate::custom::must_name_version(&self.resource, name));
            }
            self.keep_metadata(&mut object, &old)?;
            strategy::default(&self.resource, &mut object);
            if self.is_service() {
                // A client owns what it says of addresses and ports, and not what it is spared to say.
                object["status"] = old["status"].clone();
                self.track(&mut object, &old);
                keep_ports(&mut object, &old);
            }
            strategy::prepare_update(&self.resource, &self.info.subresource, &mut object, &old);
            // What admission changes is nobody's. A Scale has said whose the replicas are.
            if !self.is_service() && self.info.subresource != "scale" {
                self.track(&mut object, &old);
            }
            let managers = managers(&object);
            if admission::mutate(self, &mut object, Some(&old)).await? {
                // Whoever changed it may not change more than a client may.
                self.keep_metadata(&mut object, &old)?;
                keep_managers(&mut object, managers);
                strategy::prepare_update(&self.resource, &self.info.subresource, &mut object, &old);
            }
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.insert("resourceVersion".into(), old_object.revision.to_string().into());
            }
            let reservation = self.allocate(&mut object, Some(&old))?;
            strategy::validate_update(&self.resource, &self.info.subresource, &object, &old)?;
            crate::custom::warn(self, &object, &old);
            strategy::warnings(&self.resource, &self.info.subresource, &object, &old)
                .into_iter()
                .for_each(|text| self.warn(text));
            admission::validate(self, &object, Some(&old)).await?;
            if object == old {
                return Ok(old_object);
            }
            self.stored(&mut object).await?;
            if self.dry_run()? {
                return Ok(Arc::new(Object::from_value(&cache.resource, &object, old_object.revision)));
            }
            let outcome = if super::delete::is_finished(&object) {
                match registry.delete(&cache, &old_object).await? {
                    // It goes as its last writer left it.
                    Outcome::Done(gone) => {
                        Outcome::Done(Arc::new(Object::from_value(&cache.resource, &object, gone.revision)))
                    }
                    stale => stale,
                }
            } else {
                registry.put(&cache, object, old_object.revision).await?
            };
            match outcome {
                Outcome::Done(object) => {
                    reservation.commit(object.revision);
                    return Ok(object);
                }
                Outcome::Stale(_) if !based_on.is_empty() && based_on != "0" => {
                    return Err(Status::modified(&self.resource, name));
                }
                Outcome::Stale(found) => current = found,
            }
        }
        Err(Status::modified(&self.resource, name))
    }

    fn is_service(&self) -> bool {
        self.resource.storage == "services/specs" && self.info.subresource.is_empty()
    }

    /// Addresses and ports, if it is a Service.
    pub(super) fn allocate(&self, object: &mut Value, old: Option<&Value>) -> Result<Reservation, Status> {
        if !self.is_service() {
            return Ok(Reservation::none());
        }
        self.server.allocator().allocate(&self.resource, object, old, self.dry_run()?)
    }
}

/// Who owns which fields, before admission: what that changes is nobody's, nor may it say whose something is.
pub(super) fn managers(object: &Value) -> Option<Value> {
    object["metadata"].get("managedFields").cloned()
}

/// Puts that back after admission.
pub(super) fn keep_managers(object: &mut Value, managers: Option<Value>) {
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    match managers {
        Some(managers) => metadata.insert("managedFields".into(), managers),
        None => metadata.shift_remove("managedFields"),
    };
}
