//! Watches definitions and makes the server equal to them: names are accepted, resources published, conditions written, and
//! objects removed with their definition. Level-triggered: each pass looks at every definition, and only at those that changed
//! with care.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use orlop_kinds::custom::{accepted_names, has_condition, set_condition};
use serde_json::{Value, json};

use super::{DEFINITIONS, build, cleanup, is_leaving};
use crate::cache::Cache;
use crate::catalog::{Catalog, Resource};
use crate::object::meta;
use crate::rest::now;
use crate::server::ApiServer;
use crate::status::Status;

/// Where the server's own objects lie: no definition serves, or clears away, those.
static BUILTIN: LazyLock<HashSet<String>> =
    LazyLock::new(|| Catalog::builtin().iter().map(|resource| resource.storage.clone()).collect());

/// How soon a pass that left something undone is repeated.
const AGAIN: Duration = Duration::from_millis(200);

/// What is known of a definition.
struct Known {
    revision: i64,
    definition: Value,
    published: Option<Published>,
}

/// What is served of a definition.
struct Published {
    /// The definition's revision that was looked at last.
    seen: i64,
    /// What it was made from.
    basis: Value,
    terminating: Arc<AtomicBool>,
    storage: String,
    resources: Vec<Arc<Resource>>,
}

struct Controller {
    server: Arc<ApiServer>,
    cache: Arc<Cache>,
    known: HashMap<String, Known>,
}

/// Serves what is defined already, then follows definitions until the server stops.
pub async fn start(server: &Arc<ApiServer>) -> Result<(), Status> {
    let cache = server.registry().hub().cache_at(DEFINITIONS);
    let cache = cache.ok_or_else(|| Status::internal("definitions are not served"))?;
    let mut controller = Controller { server: server.clone(), cache, known: HashMap::new() };
    controller.pass().await?;
    let stop = server.stop_token();
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = controller.run() => {}
        }
    });
    Ok(())
}

impl Controller {
    async fn run(&mut self) {
        loop {
            let (_, _, mut changes) = self.cache.watch_from_now();
            loop {
                let done = match self.pass().await {
                    Ok(done) => done,
                    Err(status) => {
                        tracing::warn!(error = %status, "custom resources could not be brought up to date");
                        false
                    }
                };
                let next = changes.next();
                let next =
                    if done { next.await } else { tokio::time::timeout(AGAIN, next).await.unwrap_or(Ok(Vec::new())) };
                if next.is_err() {
                    break;
                }
            }
        }
    }

    /// Looks at every definition. False if something is left to do that no change will tell of.
    async fn pass(&mut self) -> Result<bool, Status> {
        self.server.registry().hub().fresh(&self.cache).await?;
        self.read();
        self.accept().await?;
        self.publish().await?;
        self.establish().await?;
        self.clean_up().await
    }

    /// Takes in what changed.
    fn read(&mut self) {
        let (objects, _) = self.cache.snapshot();
        self.known.retain(|name, _| objects.contains_key(name.as_str()));
        for (name, object) in &objects {
            let known = self.known.entry(name.to_string()).or_insert_with(|| Known {
                revision: 0,
                definition: Value::Null,
                published: None,
            });
            if known.revision != object.revision {
                known.revision = object.revision;
                known.definition = object.value();
            }
        }
    }

    /// Names in the order in which definitions were created.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.known.iter().map(|(n, k)| (meta(&k.definition, "creationTimestamp"), n)).collect();
        names.sort();
        names.into_iter().map(|(_, name)| name.clone()).collect()
    }

    async fn accept(&mut self) -> Result<(), Status> {
        for name in self.names() {
            let Some(known) = self.known.get(&name) else { continue };
            if is_accepted(&known.definition) {
                continue;
            }
            let others = self.known.values().map(|k| &k.definition);
            let Some(status) = accepted_names(&known.definition, others, &now()) else { continue };
            self.write(&name, |definition| {
                definition["status"]["acceptedNames"] = status["acceptedNames"].clone();
                definition["status"]["conditions"] = status["conditions"].clone();
            })
            .await?;
        }
        Ok(())
    }

    /// Serves every definition whose names were once accepted.
    async fn publish(&mut self) -> Result<(), Status> {
        let mut changed = false;
        for known in self.known.values_mut() {
            if known.published.as_ref().is_some_and(|published| published.seen == known.revision) {
                continue;
            }
            let definition = &known.definition;
            let served = has_condition(definition, "NamesAccepted") || has_condition(definition, "Established");
            let basis = json!([definition["spec"], definition["status"]["acceptedNames"], meta(definition, "uid")]);
            if let Some(published) = &mut known.published {
                published.terminating.store(is_terminating(definition), Ordering::Release);
                if !served || published.basis == basis {
                    published.seen = known.revision;
                    continue;
                }
            }
            if !served {
                continue;
            }
            let terminating = Arc::new(AtomicBool::new(is_terminating(definition)));
            let Some((stored, resources)) = build::resources(definition, &terminating) else { continue };
            if BUILTIN.contains(&stored.storage) {
                tracing::warn!(
                    name = meta(definition, "name"),
                    "a definition of what the server itself serves is not served"
                );
                continue;
            }
            // If this fails, all is looked at again.
            self.server.registry().hub().add(stored.clone()).await?;
            known.published = Some(Published {
                seen: known.revision,
                basis,
                terminating,
                storage: stored.storage.clone(),
                resources,
            });
            changed = true;
        }
        let served: Vec<Arc<Resource>> = self.served();
        let before = self.server.catalog();
        let gone: Vec<String> = before
            .iter()
            .filter(|r| r.custom.is_some() && !self.known.values().any(|k| k.stores(&r.storage)))
            .map(|r| r.storage.clone())
            .collect();
        if changed || before.iter().filter(|r| r.custom.is_some()).count() != served.len() {
            self.server.publish(Catalog::with(&served));
        }
        for storage in gone {
            self.server.registry().hub().remove(&storage);
        }
        Ok(())
    }

    /// Every resource, by group, preferred version first, then by name.
    fn served(&self) -> Vec<Arc<Resource>> {
        let published = self.known.values().filter_map(|k| k.published.as_ref());
        let mut served: Vec<Arc<Resource>> = published.flat_map(|p| p.resources.iter().cloned()).collect();
        served.sort_by(|a, b| {
            a.group
                .cmp(&b.group)
                .then_with(|| crate::catalog::newest_first(&a.version, &b.version))
                .then_with(|| a.plural.cmp(&b.plural))
        });
        served
    }

    /// Says of what is served that it is.
    async fn establish(&mut self) -> Result<(), Status> {
        for name in self.names() {
            let Some(known) = self.known.get(&name) else { continue };
            let definition = &known.definition;
            if known.published.is_none()
                || !has_condition(definition, "NamesAccepted")
                || has_condition(definition, "Established")
            {
                continue;
            }
            let message = "the initial names have been accepted";
            self.write(&name, |definition| {
                set_condition(definition, "Established", "True", "InitialNamesAccepted", message, &now());
            })
            .await?;
        }
        Ok(())
    }

    async fn clean_up(&mut self) -> Result<bool, Status> {
        let mut done = true;
        let leaving = self.known.values().filter(|known| is_leaving(&known.definition));
        for known in leaving {
            let storage = known.published.as_ref().map(|p| p.storage.clone()).unwrap_or_default();
            if !cleanup::step(&self.server, &known.definition, &storage).await? {
                done = false;
            }
        }
        Ok(done)
    }

    /// Changes a definition, unless it is another by now, and remembers it as it is then.
    async fn write(&mut self, name: &str, mut change: impl FnMut(&mut Value) + Send) -> Result<(), Status> {
        let Some(known) = self.known.get_mut(name) else { return Ok(()) };
        let uid = meta(&known.definition, "uid").to_owned();
        let mut next = |definition: &mut Value| {
            if meta(definition, "uid") == uid {
                change(definition);
            }
            Ok(())
        };
        match self.server.registry().modify(&self.cache, "", name, &mut next).await {
            Ok(object) => {
                known.revision = object.revision;
                known.definition = object.value();
                Ok(())
            }
            // It was deleted in between; the next pass sees that.
            Err(status) if status.code == 404 => Ok(()),
            Err(status) => Err(status),
        }
    }
}

impl Known {
    fn stores(&self, storage: &str) -> bool {
        self.published.as_ref().is_some_and(|p| p.storage == storage)
    }
}

/// Whether nothing about the names is left to decide.
fn is_accepted(definition: &Value) -> bool {
    definition["spec"]["names"] == definition["status"]["acceptedNames"]
        && has_condition(definition, "NamesAccepted")
        && has_condition(definition, "Established")
}

fn is_terminating(definition: &Value) -> bool {
    !meta(definition, "deletionTimestamp").is_empty()
}
