//! The generic path: what every verb does to an object of whatever kind. A [`Call`] is one authorized request for a resource.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Response};
use hyper::upgrade::OnUpgrade;
use orlop_auth::UserInfo;
use orlop_schema::protobuf::WATCH_MEDIA_TYPE;
use tokio_util::sync::CancellationToken;

use crate::audit::Trail;
use crate::cache::Cache;
use crate::catalog::Resource;
use crate::request::{Query, RequestInfo};
use crate::server::ApiServer;
use crate::status::Status;
use crate::wire::{self, Accept, Body, PRODUCED};

mod apply;
mod body;
mod create;
mod delete;
mod items;
mod list;
mod metadata;
mod options;
mod patch;
mod read;
mod render;
mod update;
mod watch;

pub use apply::Application;
pub use body::{summary, type_of};
pub use delete::DeleteOptions;
pub use metadata::{now, random_suffix};
pub use patch::Patch;

/// One authorized request for a resource.
pub struct Call {
    /// The server.
    pub server: Arc<ApiServer>,
    /// Who asks.
    pub user: Arc<UserInfo>,
    /// For what.
    pub info: RequestInfo,
    /// With which options.
    pub query: Query,
    /// In which version.
    pub resource: Arc<Resource>,
    /// Headers.
    pub headers: HeaderMap,
    /// What the client takes.
    pub accept: Accept,
    /// The body.
    pub body: Bytes,
    /// Ends a request that lasts.
    pub closing: CancellationToken,
    /// What is written of it into the audit log.
    pub trail: Trail,
    upgrade: Mutex<Option<OnUpgrade>>,
    warnings: Mutex<Vec<String>>,
}

/// What every answer of a deprecated API says.
fn deprecation(resource: &Resource) -> Option<&'static str> {
    match (resource.group.as_str(), resource.version.as_str(), resource.kind.as_str()) {
        ("", "v1", "Endpoints") => Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        ("", "v1", "ComponentStatus") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        _ => None,
    }
}

impl Call {
    /// A call.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        server: Arc<ApiServer>,
        user: Arc<UserInfo>,
        info: RequestInfo,
        query: Query,
        resource: Arc<Resource>,
        headers: HeaderMap,
        body: Bytes,
        closing: CancellationToken,
        upgrade: Option<OnUpgrade>,
    ) -> Result<Self, Status> {
        if resource.custom.is_none() && (info.subresource.is_empty() || info.subresource == "status") {
            let streams = [PRODUCED, &["application/json;stream=watch", WATCH_MEDIA_TYPE]].concat();
            let collection = matches!(info.verb, "list" | "watch");
            wire::producible(&headers, if collection { &streams } else { PRODUCED })?;
        }
        let accept = match resource.custom {
            Some(_) => Accept::without_protobuf(&headers)?,
            None => Accept::from_headers(&headers)?,
        };
        Ok(Self {
            server,
            user,
            info,
            query,
            resource,
            headers,
            accept,
            body,
            closing,
            trail: Trail::default(),
            upgrade: Mutex::new(upgrade),
            warnings: Mutex::default(),
        })
    }

    /// As a part of the request that the audit log follows.
    #[must_use]
    pub fn followed(self, trail: &Trail) -> Self {
        Self { trail: trail.clone(), ..self }
    }

    /// Runs it.
    pub fn run(self) -> BoxFuture<'static, Result<Response<Body>, Status>> {
        Box::pin(self.carry_out())
    }

    async fn carry_out(self) -> Result<Response<Body>, Status> {
        let call = Arc::new(self);
        if let Some(warning) = call.resource.custom.as_ref().and_then(|custom| custom.warning.as_deref()) {
            call.warn_of_age(warning);
        }
        if let Some(warning) = deprecation(&call.resource) {
            call.warn_of_age(warning);
        }
        let result = call.route().await;
        let warnings = std::mem::take(&mut *call.warnings.lock().unwrap_or_else(PoisonError::into_inner));
        let mut response = match result {
            // Who is refused is warned all the same.
            Err(status) if !warnings.is_empty() => {
                call.trail.refused(&status);
                crate::wire::refuse(&status, call.accept.encoding)
            }
            result => result?,
        };
        for warning in warnings {
            let clean: String = warning.chars().filter(|c| !c.is_control()).collect();
            let text = format!("299 - \"{}\"", clean.replace('\\', "\\\\").replace('"', "\\\""));
            if let Ok(value) = HeaderValue::from_str(&text) {
                response.headers_mut().append("warning", value);
            }
        }
        Ok(response)
    }

    /// Warns of an API that is deprecated.
    fn warn_of_age(&self, text: &str) {
        self.trail.annotate("k8s.io/deprecated", || "true".to_owned());
        self.warn(text);
    }

    async fn route(self: &Arc<Self>) -> Result<Response<Body>, Status> {
        let info = &self.info;
        self.check_options()?;
        if info.verb == "patch" && !info.is_long_running() {
            self.trail.patched(&self.body, self.applies());
        }
        if self.resource.storage.is_empty() || !matches!(info.subresource.as_str(), "" | "status") {
            return crate::subresource::route(self).await;
        }
        match info.subresource.as_str() {
            "" if !self.resource.serves(info.verb) => {
                return Err(Status::method_not_supported());
            }
            "" => {}
            name => match self.resource.subresource(name) {
                None => return Err(Status::no_such_path()),
                Some(sub) if !sub.verbs.iter().any(|v| v == info.verb) => {
                    return Err(Status::method_not_supported());
                }
                Some(_) => {}
            },
        }
        self.generic().await
    }

    /// The generic verbs, on the object or on a view of it.
    pub async fn generic(self: &Arc<Self>) -> Result<Response<Body>, Status> {
        let info = &self.info;
        match info.verb {
            "get" => self.get().await,
            "list" => self.list().await,
            "watch" => self.watch().await,
            "create" if info.name.is_empty() => self.create().await,
            "update" if !info.name.is_empty() => self.update().await,
            "patch" if !info.name.is_empty() => self.patch().await,
            "delete" => self.delete().await,
            "deletecollection" => self.delete_collection().await,
            _ => Err(Status::method_not_supported()),
        }
    }

    /// The cache that holds this resource.
    pub fn cache(&self) -> Result<Arc<Cache>, Status> {
        self.server.registry().hub().cache(&self.resource)
    }

    /// The namespace of the request, empty for cluster-scoped resources.
    pub fn namespace(&self) -> &str {
        if self.resource.namespaced { &self.info.namespace } else { "" }
    }

    /// Whether nothing may be stored (`dryRun=All`).
    pub fn dry_run(&self) -> Result<bool, Status> {
        let mut dry = false;
        for value in self.query.all("dryRun") {
            dry |= value == "All";
        }
        Ok(dry)
    }

    /// The connection itself, if the client asks to speak something else on it; once.
    pub fn upgrade(&self) -> Option<OnUpgrade> {
        let asked = self.headers.contains_key(http::header::UPGRADE);
        self.upgrade.lock().unwrap_or_else(PoisonError::into_inner).take().filter(|_| asked)
    }

    /// Adds a `Warning` header to the answer.
    pub fn warn(&self, text: impl Into<String>) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        let text = text.into();
        if warnings.len() < 32 && !warnings.contains(&text) {
            warnings.push(text);
        }
    }
}
