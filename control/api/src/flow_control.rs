//! Which FlowSchema a request belongs to. The answer is told to the client (`X-Kubernetes-PF-FlowSchema-UID`,
//! `X-Kubernetes-PF-PriorityLevel-UID`); nobody waits in queues here. [`keep`] holds up the objects that every cluster has.

use std::sync::{Arc, PoisonError, RwLock};

use http::{HeaderMap, HeaderValue};
use orlop_auth::UserInfo;
use serde_json::Value;
use tokio::sync::Notify;

use crate::cache::{Cache, Change, Observer};
use crate::object::meta;
use crate::request::RequestInfo;

pub mod keep;
mod matching;

pub(crate) const SCHEMAS: &str = "flowschemas";
pub(crate) const LEVELS: &str = "prioritylevelconfigurations";

/// What a request is counted to.
#[derive(Debug, Clone)]
pub struct Flow {
    schema: HeaderValue,
    level: HeaderValue,
}

impl Flow {
    /// Tells the client.
    pub fn tell(&self, headers: &mut HeaderMap) {
        headers.insert("x-kubernetes-pf-flowschema-uid", self.schema.clone());
        headers.insert("x-kubernetes-pf-prioritylevel-uid", self.level.clone());
    }
}

/// All FlowSchemas in the order in which they are asked.
#[derive(Clone, Default)]
pub struct FlowControl {
    schemas: Arc<RwLock<Arc<Vec<Schema>>>>,
    caches: Arc<RwLock<Vec<Arc<Cache>>>>,
    changed: Arc<Notify>,
}

struct Schema {
    rules: Vec<matching::Rule>,
    flow: Flow,
}

impl FlowControl {
    /// What keeps the order equal to the stored objects.
    pub fn observer(&self) -> Box<dyn Observer> {
        Box::new(self.clone())
    }

    /// The first FlowSchema that a request matches.
    pub fn classify(&self, user: &UserInfo, info: &RequestInfo) -> Option<Flow> {
        let schemas = self.schemas.read().unwrap_or_else(PoisonError::into_inner).clone();
        let found = schemas.iter().find(|schema| schema.rules.iter().any(|rule| rule.matches(user, info)));
        found.map(|schema| schema.flow.clone())
    }

    /// Waits for the next change of either kind.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Puts the schemas in order again; those without their priority level are left out.
    fn rebuild(&self) {
        let caches = self.caches.read().unwrap_or_else(PoisonError::into_inner);
        let objects = |storage: &str| -> Vec<Value> {
            let cache = caches.iter().find(|cache| cache.resource.storage == storage);
            cache.map(|cache| cache.snapshot().0.values().map(|o| o.value()).collect()).unwrap_or_default()
        };
        let levels = objects(LEVELS);
        let mut schemas = objects(SCHEMAS);
        let precedence = |schema: &Value| schema["spec"]["matchingPrecedence"].as_i64().unwrap_or(i64::MAX);
        schemas.sort_by(|a, b| precedence(a).cmp(&precedence(b)).then_with(|| meta(a, "name").cmp(meta(b, "name"))));
        let ordered = schemas.iter().filter_map(|schema| {
            let wanted = &schema["spec"]["priorityLevelConfiguration"]["name"];
            let level = levels.iter().find(|level| level["metadata"]["name"] == *wanted)?;
            Some(Schema {
                rules: matching::rules(&schema["spec"]["rules"]),
                flow: Flow {
                    schema: HeaderValue::from_str(meta(schema, "uid")).ok()?,
                    level: HeaderValue::from_str(meta(level, "uid")).ok()?,
                },
            })
        });
        *self.schemas.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ordered.collect());
    }
}

impl Observer for FlowControl {
    fn reset(&self, caches: &[Arc<Cache>]) {
        let ours = caches.iter().filter(|cache| matches!(cache.resource.storage.as_str(), SCHEMAS | LEVELS));
        *self.caches.write().unwrap_or_else(PoisonError::into_inner) = ours.cloned().collect();
        self.rebuild();
        self.changed.notify_one();
    }

    fn changed(&self, cache: &Cache, _: &Change) {
        if matches!(cache.resource.storage.as_str(), SCHEMAS | LEVELS) {
            self.rebuild();
            self.changed.notify_one();
        }
    }
}
