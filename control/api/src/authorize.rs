//! May they: Node authorization and RBAC over an index that follows the caches.

use std::sync::{Arc, PoisonError, RwLock};

use orlop_auth::{Attributes, Decision, NodeAuthorizer, Rbac, UserInfo};

use crate::cache::{Cache, Change, ChangeKind, Observer};
use crate::object::Object;
use crate::request::{Query, RequestInfo};
use crate::selector::FieldSelector;
use crate::status::Status;

/// Both authorizers.
#[derive(Clone, Default)]
pub struct Authorizer {
    rbac: Arc<RwLock<Rbac>>,
    nodes: Arc<RwLock<NodeAuthorizer>>,
}

/// Storage paths whose changes decide about requests.
const DECISIVE: &[&str] = &["roles", "rolebindings", "clusterroles", "clusterrolebindings", "pods"];

impl Authorizer {
    /// Without any objects yet: only `system:masters` may do anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// What keeps the index equal to the caches.
    pub fn observer(&self) -> Box<dyn Observer> {
        Box::new(self.clone())
    }

    /// The RBAC index.
    pub fn rbac<R>(&self, ask: impl FnOnce(&Rbac) -> R) -> R {
        ask(&self.rbac.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks Node authorization, then RBAC.
    pub fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        let node = self.nodes.read().unwrap_or_else(PoisonError::into_inner).authorize(attributes);
        let reason = match node {
            Decision::NoOpinion(reason) => reason,
            decided => return decided,
        };
        match self.rbac(|rbac| rbac.authorize(attributes)) {
            Decision::NoOpinion(other) => Decision::NoOpinion(if other.is_empty() { reason } else { other }),
            decided => decided,
        }
    }

    /// Answers the question that a request puts as if it had this verb.
    pub fn ask(&self, user: &UserInfo, info: &RequestInfo, query: &Query, verb: &str) -> Decision {
        let fields = FieldSelector::parse(query.text("fieldSelector")).unwrap_or_default();
        self.decide(&question(Some(user), info, &fields, verb))
    }

    /// Whether a request may be made.
    pub fn check(&self, user: &UserInfo, info: &RequestInfo, query: &Query) -> Result<(), Status> {
        self.check_verb(user, info, query, info.verb)
    }

    /// Likewise, as if the request had another verb.
    pub fn check_verb(&self, user: &UserInfo, info: &RequestInfo, query: &Query, verb: &str) -> Result<(), Status> {
        granted(&self.ask(user, info, query, verb), user, info, verb)
    }

    fn upsert(&self, cache: &Cache, object: &Object) {
        if cache.resource.storage == "pods" {
            // Only a pod's binding and references matter, and they do not change while it runs; but it is cheap to take all.
            self.nodes.write().unwrap_or_else(PoisonError::into_inner).upsert_pod(&object.value());
        } else {
            self.rbac.write().unwrap_or_else(PoisonError::into_inner).upsert(&cache.resource.kind, &object.value());
        }
    }
}

impl Observer for Authorizer {
    fn reset(&self, caches: &[Arc<Cache>]) {
        *self.rbac.write().unwrap_or_else(PoisonError::into_inner) = Rbac::default();
        *self.nodes.write().unwrap_or_else(PoisonError::into_inner) = NodeAuthorizer::default();
        for cache in caches.iter().filter(|c| DECISIVE.contains(&c.resource.storage.as_str())) {
            for object in cache.snapshot().0.values() {
                self.upsert(cache, object);
            }
        }
    }

    fn changed(&self, cache: &Cache, change: &Change) {
        if !DECISIVE.contains(&cache.resource.storage.as_str()) {
            return;
        }
        match &change.kind {
            ChangeKind::Created(object) => self.upsert(cache, object),
            ChangeKind::Updated { object, previous } => {
                if cache.resource.storage != "pods" || object.field("spec.nodeName") != previous.field("spec.nodeName")
                {
                    self.upsert(cache, object);
                }
            }
            ChangeKind::Deleted(object) if cache.resource.storage == "pods" => {
                self.nodes.write().unwrap_or_else(PoisonError::into_inner).remove_pod(&object.namespace, &object.name);
            }
            ChangeKind::Deleted(object) => {
                let mut rbac = self.rbac.write().unwrap_or_else(PoisonError::into_inner);
                rbac.remove(&cache.resource.kind, &object.namespace, &object.name);
            }
        }
    }
}

/// A request as a question to an authorizer.
pub fn question<'a>(
    user: Option<&'a UserInfo>,
    info: &'a RequestInfo,
    fields: &'a FieldSelector,
    verb: &'a str,
) -> Attributes<'a> {
    // A list or watch of one name is a question about that name, as in kube-apiserver's RequestInfo.
    let collective = info.name.is_empty() && matches!(info.verb, "list" | "watch" | "deletecollection");
    let selected = if collective { fields.exact("metadata.name").unwrap_or_default() } else { "" };
    Attributes {
        user,
        verb,
        group: &info.group,
        version: &info.version,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: if collective { selected } else { &info.name },
        path: if info.is_resource { "" } else { &info.path },
        field_selector: selected,
        pod_node_selector: fields.exact("spec.nodeName").unwrap_or_default(),
    }
}

/// What an answer means for the request: nothing, or 403.
pub fn granted(decision: &Decision, user: &UserInfo, info: &RequestInfo, verb: &str) -> Result<(), Status> {
    match decision {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(forbidden(user, info, verb, reason)),
    }
}

/// kube-apiserver's words (`handlers/responsewriters/errors.go`).
fn forbidden(user: &UserInfo, info: &RequestInfo, verb: &str, reason: &str) -> Status {
    let name = &user.name;
    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    if !info.is_resource {
        return Status::forbidden_path(format!("User \"{name}\" cannot {verb} path \"{}\"{because}", info.path));
    }
    let mut resource = info.resource.clone();
    if !info.subresource.is_empty() {
        resource = format!("{resource}/{}", info.subresource);
    }
    let place = if info.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace \"{}\"", info.namespace)
    };
    let why = format!(
        "User \"{name}\" cannot {verb} resource \"{resource}\" in API group \"{}\" {place}{because}",
        info.group
    );
    Status::forbidden(&info.group, &info.resource, &info.name, why)
}
