//! API aggregation: groups that are served by other servers behind Services, as APIServices say (`kube-aggregator`). A request
//! for one of them is authenticated and authorized here and then passed on, under the front proxy's certificate, with who
//! asks in its headers. What this server serves itself has APIServices too, which it makes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::object::{Object, meta};
use crate::server::ApiServer;

mod availability;
mod discovery;
mod keep;
mod local;
mod pass_on;
mod tls;

pub use discovery::{merge, with_others};
pub use keep::keep;
pub use pass_on::pass_on;

/// Where `apiservices` are stored.
const STORAGE: &str = "apiregistration.k8s.io/apiservices";

/// One group and version that another server serves.
pub struct Route {
    /// The APIService.
    pub name: String,
    /// API group.
    pub group: String,
    /// API version.
    pub version: String,
    /// The Service's namespace.
    namespace: String,
    /// The Service.
    service: String,
    /// The Service's port.
    port: u16,
    tls: Result<Arc<rustls::ClientConfig>, String>,
    available: bool,
    group_priority: i64,
    version_priority: i64,
}

type Routes = Arc<HashMap<(String, String), Arc<Route>>>;

/// What is known of aggregated servers.
#[derive(Default)]
pub struct Aggregator {
    routes: Mutex<Option<(i64, Routes)>>,
    /// What each APIService's server said it serves, when it last answered.
    discovered: Mutex<HashMap<String, Arc<discovery::Discovered>>>,
}

impl Aggregator {
    /// All that are served elsewhere, as of now. There are few, and mostly none.
    pub fn routes(&self, server: &ApiServer) -> Routes {
        let Some(cache) = server.registry().hub().cache_at(STORAGE) else { return Routes::default() };
        let (objects, revision) = cache.snapshot();
        let mut known = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, routes)) = &*known
            && *at == revision
        {
            return routes.clone();
        }
        let read = objects.values().filter_map(|object| Route::read(server, object));
        let routes: Routes =
            Arc::new(read.map(|route| ((route.group.clone(), route.version.clone()), Arc::new(route))).collect());
        *known = Some((revision, routes.clone()));
        routes
    }

    /// Who else serves a path.
    pub fn route(&self, server: &ApiServer, path: &str) -> Option<Arc<Route>> {
        let (path, is_document) = path.strip_prefix("/openapi/v3").map_or((path, false), |path| (path, true));
        let mut parts = path.strip_prefix("/apis/")?.splitn(3, '/');
        let (group, version) = (parts.next()?, parts.next()?);
        let routes = self.routes(server);
        if routes.is_empty() {
            return None;
        }
        // Who has no such document says it in another form, which is answered here.
        if is_document && self.old_part(server, group, version).is_some() {
            return None;
        }
        routes.get(&(group.to_owned(), version.to_owned())).cloned()
    }
}

impl Route {
    fn read(server: &ApiServer, object: &Object) -> Option<Self> {
        let object = object.value();
        let spec = &object["spec"];
        let service = spec["service"].as_object()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        let (namespace, name) = (text(&service["namespace"]), text(&service["name"]));
        Some(Self {
            name: meta(&object, "name").to_owned(),
            group: text(&spec["group"]),
            version: text(&spec["version"]),
            tls: tls::config(server.config(), spec),
            port: service.get("port").and_then(Value::as_u64).and_then(|p| u16::try_from(p).ok()).unwrap_or(443),
            available: conditions.into_iter().any(|c| c["type"] == "Available" && c["status"] == "True"),
            group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or(0),
            version_priority: spec["versionPriority"].as_i64().unwrap_or(0),
            service: name,
            namespace,
        })
    }

    /// Whom the server's certificate must name.
    fn server_name(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }
}
