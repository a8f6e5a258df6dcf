//! The webhooks of all configurations, read once for each change of them and not once for each request.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::admission::policy::Conditions;
use crate::admission::rules::Criteria;
use crate::cache::Cache;
use crate::object::meta;
use crate::webhook::ClientConfig;

/// Which of the two plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Those that change objects.
    Mutating,
    /// Those that only say yes or no.
    Validating,
}

impl Type {
    /// Where their configurations are stored.
    pub fn storage(self) -> &'static str {
        match self {
            Self::Mutating => "mutatingwebhookconfigurations",
            Self::Validating => "validatingwebhookconfigurations",
        }
    }

    /// As metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mutating => "admit",
            Self::Validating => "validating",
        }
    }
}

/// One webhook.
#[derive(Debug)]
pub struct Hook {
    pub ty: Type,
    pub name: String,
    pub configuration: String,
    /// Tells it from all others.
    pub uid: String,
    pub criteria: Criteria,
    pub conditions: Conditions,
    pub client: Result<ClientConfig, String>,
    pub timeout: Duration,
    pub ignores_failure: bool,
    /// What it says of dry runs; `None` if nothing.
    pub side_effects: Option<String>,
    pub reinvoke: bool,
    pub versions: Vec<String>,
}

/// Webhooks as of a revision of their configurations.
type Known = Option<(i64, Arc<Vec<Hook>>)>;

/// The webhooks of both types.
#[derive(Default)]
pub struct Hooks {
    known: Mutex<[Known; 2]>,
}

impl Hooks {
    /// All of a type, in the order in which they are asked.
    pub fn of(&self, cache: &Cache, ty: Type) -> Arc<Vec<Hook>> {
        let (objects, revision) = cache.snapshot();
        let slot = usize::from(ty == Type::Validating);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match &known[slot] {
            Some((at, hooks)) if *at == revision => hooks.clone(),
            _ => {
                let read = objects.values().flat_map(|object| read(&object.value(), ty)).collect();
                let hooks: Arc<Vec<Hook>> = Arc::new(read);
                known[slot] = Some((revision, hooks.clone()));
                hooks
            }
        }
    }
}

fn read(configuration: &Value, ty: Type) -> Vec<Hook> {
    let webhooks = configuration["webhooks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let one = |(index, webhook): (usize, &Value)| {
        let name = webhook["name"].as_str().unwrap_or_default().to_owned();
        let versions = webhook["admissionReviewVersions"].as_array().into_iter().flatten();
        Hook {
            ty,
            configuration: meta(configuration, "name").to_owned(),
            uid: format!("{}/{name}/{index}", meta(configuration, "name")),
            criteria: Criteria::of_webhook(webhook),
            conditions: Conditions::of_webhook(webhook),
            client: ClientConfig::read(&webhook["clientConfig"]),
            timeout: Duration::from_secs(webhook["timeoutSeconds"].as_u64().unwrap_or(10)),
            ignores_failure: webhook["failurePolicy"] == "Ignore",
            side_effects: webhook["sideEffects"].as_str().map(Into::into),
            reinvoke: webhook["reinvocationPolicy"] == "IfNeeded",
            versions: versions.filter_map(|v| v.as_str().map(Into::into)).collect(),
            name,
        }
    };
    webhooks.iter().enumerate().map(one).collect()
}
