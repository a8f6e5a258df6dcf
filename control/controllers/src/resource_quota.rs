//! The quota controller: keeps in each ResourceQuota's status what the objects of its namespace use
//! (`pkg/controller/resourcequota`). Admission charges what is created; here is given back what has gone, and counted anew
//! what nobody charged.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use kube::api::{ListParams, PostParams};
use kube::core::discovery::verbs;
use kube::{Api, Client, ResourceExt as _};
use orlop_kinds::quota::{self, Counted};
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Next};
use crate::discovery::{ResourceType, deletable};
use crate::{Informer, Key, Queue};

pub(crate) const NAME: &str = "resourcequota-controller";
const WORKERS: usize = 2;
/// Counts of objects that no view here follows are taken again so often.
const POLL: Duration = Duration::from_secs(5);
/// Everything is counted again so often (`--resource-quota-sync-period`).
const RESYNC: Duration = Duration::from_secs(300);
/// What was charged has been stored by then, or never will be.
const SETTLED: Duration = Duration::from_secs(10);
/// What was charged has been stored and seen by then, if it is stored at all: its admission had nothing left to ask.
const STORED_BY: Duration = Duration::from_secs(2);
/// What can be given back is held back for new charges no longer than this.
const HELD_AT_MOST: Duration = Duration::from_secs(30);
/// How long what discovery said is believed.
const KNOWN: Duration = Duration::from_secs(30);

/// The views that the controller reads.
pub(crate) struct Views {
    pub(crate) quotas: Arc<Informer<ResourceQuota>>,
    pub(crate) pods: Arc<Informer<Pod>>,
    pub(crate) services: Arc<Informer<Service>>,
}

/// When a quota will be looked at again anyway, so that looks do not multiply.
#[derive(Default)]
struct Alarms(Mutex<HashMap<Key, Instant>>);

impl Alarms {
    /// Whether one has to be set for this quota: none will go off sooner.
    fn set(&self, key: &Key, delay: Duration) -> bool {
        let (now, mut alarms) = (Instant::now(), self.0.lock().unwrap_or_else(PoisonError::into_inner));
        alarms.retain(|_, at| *at > now);
        let at = now + delay;
        if alarms.get(key).is_some_and(|sooner| *sooner <= at) {
            return false;
        }
        alarms.insert(key.clone(), at);
        true
    }
}

/// When a quota was charged last. What admission has just charged is stored a moment later, and seen here later still: a count
/// made in between is too low, and would give back what somebody is about to have.
#[derive(Default)]
struct Charges(Mutex<HashMap<Key, Charge>>);

struct Charge {
    last: Instant,
    /// Since when what could be given back was held back for such charges.
    held_since: Option<Instant>,
}

impl Charges {
    fn charged(&self, key: &Key, now: Instant) {
        let mut charges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        charges.retain(|_, charge| now.duration_since(charge.last) < HELD_AT_MOST);
        charges.entry(key.clone()).or_insert(Charge { last: now, held_since: None }).last = now;
    }

    /// How long to wait before giving back; a quota that is charged all the time does not wait for ever.
    fn wait(&self, key: &Key, now: Instant) -> Option<Duration> {
        let mut charges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let charge = charges.get_mut(key)?;
        let left = STORED_BY.checked_sub(now.duration_since(charge.last)).filter(|left| !left.is_zero());
        let held = charge.held_since.map_or(Duration::ZERO, |since| now.duration_since(since));
        if left.is_none() || held >= HELD_AT_MOST {
            charge.held_since = None;
            return None;
        }
        charge.held_since.get_or_insert(now);
        left
    }
}

struct Counter {
    client: Client,
    views: Views,
    alarms: Arc<Alarms>,
    charges: Arc<Charges>,
    known: RwLock<Option<(Instant, Arc<Vec<ResourceType>>)>>,
}

/// Runs the controller until cancelled.
pub(crate) async fn run(client: Client, views: Views, stop: CancellationToken) {
    let queue = Queue::<Key>::default();
    let alarms = Arc::new(Alarms::default());
    let charges = Arc::new(Charges::default());
    let (changed, charged, noted) = (queue.clone(), alarms.clone(), charges.clone());
    views.quotas.on_change(move |old, new| {
        let Some(quota) = new else { return };
        let key = Key::of(quota.as_ref());
        if old.is_some_and(|old| uses_less(&used(old), &used(quota))) {
            noted.charged(&key, Instant::now());
        }
        if old.is_none_or(|old| old.spec != quota.spec) {
            changed.add(key);
        } else if charged.set(&key, SETTLED) {
            changed.add_after(key, SETTLED);
        }
    });
    // What goes, or uses less, gives back.
    let (changed, quotas) = (queue.clone(), views.quotas.clone());
    views.pods.on_change(move |old, new| {
        let Some(old) = old else { return };
        let ended = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };
        if new.is_none_or(|new| (ended(new) && !ended(old)) || new.spec != old.spec) {
            quotas.list(&old.namespace().unwrap_or_default()).iter().for_each(|q| changed.add(Key::of(q.as_ref())));
        }
    });
    let (changed, quotas) = (queue.clone(), views.quotas.clone());
    views.services.on_change(move |old, new| {
        let Some(old) = old else { return };
        if new.is_none_or(|new| new.spec != old.spec) {
            quotas.list(&old.namespace().unwrap_or_default()).iter().for_each(|q| changed.add(Key::of(q.as_ref())));
        }
    });
    views.quotas.synced().await;
    views.pods.synced().await;
    views.services.synced().await;
    let counter = Arc::new(Counter { client, views, alarms, charges, known: RwLock::default() });
    let reconcile = move |key: Key| {
        let counter = counter.clone();
        async move { counter.reconcile(&key).await }
    };
    controller::work(NAME, queue, WORKERS, stop, reconcile).await;
}

fn values<K: Serialize>(objects: &[Arc<K>]) -> Vec<Value> {
    objects.iter().filter_map(|object| serde_json::to_value(object.as_ref()).ok()).collect()
}

fn used(quota: &ResourceQuota) -> Value {
    quota.status.as_ref().and_then(|status| serde_json::to_value(&status.used).ok()).unwrap_or_default()
}

/// Whether one account has less of anything than another.
fn uses_less(one: &Value, other: &Value) -> bool {
    let (one, other) = (quota::read(one), quota::read(other));
    other.iter().any(|(name, amount)| one.get(name).is_some_and(|less| less < amount))
}

impl Counter {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(quota) = self.views.quotas.get(key) else { return Ok(Next::Settled) };
        let Ok(value) = serde_json::to_value(quota.as_ref()) else { return Ok(Next::Settled) };
        let names: Vec<String> =
            quota.spec.iter().flat_map(|spec| spec.hard.iter().flatten()).map(|(name, _)| name.clone()).collect();
        let (mut objects, mut polled) = (Vec::new(), false);
        for (group, plural) in counted(&names) {
            let found = match (group.as_str(), plural.as_str()) {
                ("", "pods") => values(&self.views.pods.list(&key.namespace)),
                ("", "services") => values(&self.views.services.list(&key.namespace)),
                _ => {
                    polled = true;
                    self.listed(&group, &plural, &key.namespace).await?
                }
            };
            objects.push((group, plural, found));
        }
        let all = objects
            .iter()
            .flat_map(|(group, plural, found)| found.iter().map(move |object| (Counted::new(group, plural), object)));
        let status = quota::status(&value, all, Timestamp::now());
        let same = |list: &str| quota::read(&status[list]) == quota::read(&value["status"][list]);
        if !(same("hard") && same("used")) {
            if uses_less(&status["used"], &value["status"]["used"])
                && let Some(delay) = self.charges.wait(key, Instant::now())
            {
                return Ok(Next::After(delay));
            }
            let mut updated = quota.as_ref().clone();
            updated.status = serde_json::from_value(status).ok();
            let api = Api::<ResourceQuota>::namespaced(self.client.clone(), &key.namespace);
            controller::gone_is_fine(api.replace_status(&key.name, &PostParams::default(), &updated).await)?;
        }
        let delay = if polled { POLL } else { RESYNC };
        Ok(if self.alarms.set(key, delay) { Next::After(delay) } else { Next::Settled })
    }

    /// The objects of a resource that no view holds: claims whole, of others the metadata.
    async fn listed(&self, group: &str, plural: &str, namespace: &str) -> Result<Vec<Value>, kube::Error> {
        if (group, plural) == ("", "persistentvolumeclaims") {
            let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), namespace);
            let claims = api.list(&ListParams::default()).await?.items;
            return Ok(values(&claims.into_iter().map(Arc::new).collect::<Vec<_>>()));
        }
        let known = self.known().await?;
        let resource = known.iter().find(|resource| resource.id() == (group, plural) && resource.namespaced);
        let Some(resource) = resource.filter(|resource| resource.can(verbs::LIST)) else { return Ok(Vec::new()) };
        let list = resource.metadata(&self.client, namespace).list_metadata(&ListParams::default()).await;
        match list {
            Ok(list) => {
                Ok(list.items.into_iter().filter_map(|item| serde_json::to_value(item.metadata).ok()).collect())
            }
            // It has gone since discovery saw it.
            Err(error) if controller::is_not_found(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn known(&self) -> Result<Arc<Vec<ResourceType>>, kube::Error> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, resources)) = known.filter(|(at, _)| at.elapsed() < KNOWN) {
            return Ok(resources);
        }
        let resources = Arc::new(deletable(&self.client).await?);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), resources.clone()));
        Ok(resources)
    }
}

/// Group and plural of every resource whose objects count for one of these names.
fn counted(names: &[String]) -> BTreeSet<(String, String)> {
    const OWN: [&str; 7] = [
        "pods",
        "services",
        "persistentvolumeclaims",
        "configmaps",
        "secrets",
        "replicationcontrollers",
        "resourcequotas",
    ];
    let mut found = BTreeSet::new();
    for name in names {
        if let Some(counted) = Counted::of_count_name(name) {
            found.insert((counted.group.to_owned(), counted.plural.to_owned()));
        }
        let own = OWN.into_iter().filter(|plural| Counted::new("", plural).counts_for(name));
        found.extend(own.map(|plural| (String::new(), plural.to_owned())));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_just_charged_is_not_given_back_and_what_went_long_ago_is() {
        let (charges, key, start) = (Charges::default(), Key::new("n", "q"), Instant::now());
        assert_eq!(charges.wait(&key, start), None);
        charges.charged(&key, start);
        assert_eq!(charges.wait(&key, start), Some(STORED_BY));
        assert_eq!(charges.wait(&key, start + STORED_BY), None);
        // Charged again and again: held back, but not for ever.
        let held = (0..60).map(|second| start + STORED_BY + Duration::from_secs(second)).take_while(|now| {
            charges.charged(&key, *now);
            charges.wait(&key, *now).is_some()
        });
        assert_eq!(held.count() as u64, HELD_AT_MOST.as_secs());
    }

    #[test]
    fn an_account_is_lower_when_one_amount_is() {
        assert!(uses_less(&json!({"pods": "1", "cpu": "2"}), &json!({"pods": "2", "cpu": "1"})));
        assert!(!uses_less(&json!({"pods": "2"}), &json!({"pods": "2"})));
        assert!(!uses_less(&json!({"pods": "2", "cpu": "1500m"}), &json!({"pods": "1", "cpu": "1"})));
    }

    #[test]
    fn what_is_limited_says_what_is_counted() {
        let names = [
            "requests.cpu",
            "count/jobs.batch",
            "secrets",
            "services.nodeports",
            "gold.storageclass.storage.k8s.io/requests.storage",
        ];
        let found = counted(&names.map(str::to_owned));
        let plurals: Vec<&str> = found.iter().map(|(_, plural)| plural.as_str()).collect();
        assert_eq!(plurals, ["persistentvolumeclaims", "pods", "secrets", "services", "jobs"]);
    }
}
