//! `POST`: defaulting, admission, validation, allocation, and one write that must be the first.

use std::sync::Arc;

use http::Response;
use serde_json::Value;

use super::Call;
use super::update::{keep_managers, managers};
use crate::object::{Object, meta};
use crate::registry::Outcome;
use crate::status::Status;
use crate::wire::Body;
use crate::{admission, strategy};

/// A generated name that is taken is drawn again so often (kube-apiserver: 8 attempts in all).
const NAME_ATTEMPTS: usize = 8;

impl Call {
    pub(super) async fn create(self: &Arc<Self>) -> Result<Response<Body>, Status> {
        let object = self.decode(&self.resource.api_version(), &self.resource.kind)?;
        let created = self.create_object(object).await?;
        self.render_object(201, created).await
    }

    /// Creates a decoded object.
    pub async fn create_object(self: &Arc<Self>, object: Value) -> Result<Arc<Object>, Status> {
        if self.resource.namespaced && self.info.namespace.is_empty() {
            return Err(Status::method_not_supported());
        }
        if self.resource.custom.as_ref().is_some_and(|custom| custom.is_terminating()) {
            return Err(Status::not_while_terminating("create"));
        }
        let generated = meta(&object, "name").is_empty();
        for _ in 0..NAME_ATTEMPTS {
            match self.try_create(object.clone()).await {
                Err(status) if generated && status.reason == "AlreadyExists" => {}
                result => return result,
            }
        }
        let name = meta(&object, "generateName");
        Err(Status::already_exists(&self.resource, name))
    }

    async fn try_create(self: &Arc<Self>, mut object: Value) -> Result<Arc<Object>, Status> {
        let cache = self.cache()?;
        let dry_run = self.dry_run()?;
        strategy::default(&self.resource, &mut object);
        self.check_metadata(&mut object)?;
        self.server.registry().hub().fresh(&cache).await?;
        self.track(&mut object, &Value::Null);
        let managers = managers(&object);
        if admission::mutate(self, &mut object, None).await? {
            keep_managers(&mut object, managers);
        }
        self.fill_metadata(&mut object)?;
        strategy::prepare_create(&self.resource, &mut object);
        let reservation = self.allocate(&mut object, None)?;
        strategy::validate_create(&self.resource, &object)?;
        crate::custom::warn(self, &object, &Value::Null);
        strategy::warnings(&self.resource, "", &object, &Value::Null).into_iter().for_each(|text| self.warn(text));
        admission::validate(self, &object, None).await?;
        self.stored(&mut object).await?;
        let name = meta(&object, "name").to_owned();
        if dry_run {
            if cache.get(&crate::registry::cache_key(&self.resource, self.namespace(), &name)).is_some() {
                return Err(Status::already_exists(&self.resource, &name));
            }
            return Ok(Arc::new(Object::from_value(&cache.resource, &object, 0)));
        }
        match self.server.registry().put(&cache, object, 0).await? {
            Outcome::Done(object) => {
                reservation.commit(object.revision);
                Ok(object)
            }
            Outcome::Stale(_) => Err(Status::already_exists(&self.resource, &name)),
        }
    }
}
