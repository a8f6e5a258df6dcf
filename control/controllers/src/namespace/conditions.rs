//! What a terminating Namespace tells: which content is left, and why it does not go. Types, reasons and texts are Kubernetes'.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NamespaceCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What a look at the content found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) discovery_error: Option<String>,
    pub(super) errors: Vec<String>,
    /// Objects left, by resource (`pods.`, `deployments.apps`).
    pub(super) remaining: BTreeMap<String, usize>,
    /// How many objects wait for each finalizer.
    pub(super) finalizers: BTreeMap<String, usize>,
}

impl Found {
    pub(super) fn is_empty(&self) -> bool {
        self.discovery_error.is_none() && self.errors.is_empty() && self.remaining.is_empty()
    }

    /// The conditions, in Kubernetes' order, that tell this.
    pub(super) fn conditions(&self, old: &[NamespaceCondition], now: Timestamp) -> Vec<NamespaceCondition> {
        let join = |counts: &BTreeMap<String, usize>, verb: &str| {
            let parts: Vec<_> =
                counts.iter().map(|(name, n)| format!("{name} {verb} {n} resource instances")).collect();
            parts.join(", ")
        };
        let discovery = self.discovery_error.clone().map(|error| ("DiscoveryFailed", error));
        let content = (!self.errors.is_empty()).then(|| {
            let (count, errors) = (self.errors.len(), self.errors.join(", "));
            ("ContentDeletionFailed", format!("Failed to delete all resource types, {count} remaining: {errors}"))
        });
        let remaining = (!self.remaining.is_empty()).then(|| {
            ("SomeResourcesRemain", format!("Some resources are remaining: {}", join(&self.remaining, "has")))
        });
        let finalizers = (!self.finalizers.is_empty()).then(|| {
            let list = join(&self.finalizers, "in");
            ("SomeFinalizersRemain", format!("Some content in the namespace has finalizers remaining: {list}"))
        });
        let all = [
            (
                "NamespaceDeletionDiscoveryFailure",
                discovery,
                ("ResourcesDiscovered", "All resources successfully discovered"),
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                None,
                ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
            ),
            (
                "NamespaceDeletionContentFailure",
                content,
                ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
            ),
            ("NamespaceContentRemaining", remaining, ("ContentRemoved", "All content successfully removed")),
            (
                "NamespaceFinalizersRemaining",
                finalizers,
                ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
            ),
        ];
        let told = all.into_iter().map(|(type_, trouble, (ok_reason, ok_message))| {
            let status = if trouble.is_some() { "True" } else { "False" };
            let (reason, message) = trouble.unwrap_or_else(|| (ok_reason, ok_message.to_owned()));
            let before = old.iter().find(|condition| condition.type_ == type_ && condition.status == status);
            NamespaceCondition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message),
                last_transition_time: before.and_then(|c| c.last_transition_time.clone()).or(Some(Time(now))),
            }
        });
        let told: Vec<_> = told.collect();
        let others = old.iter().filter(|condition| !told.iter().any(|told| told.type_ == condition.type_)).cloned();
        others.chain(told.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_and_a_condition_that_stays_keeps_its_time() {
        let found = Found {
            remaining: [("pods.".to_owned(), 2)].into(),
            finalizers: [("example.com/wait".to_owned(), 1)].into(),
            ..Found::default()
        };
        let first = found.conditions(&[], Timestamp::UNIX_EPOCH);
        let told = |type_: &str| first.iter().find(|condition| condition.type_ == type_).unwrap();
        assert_eq!(
            told("NamespaceContentRemaining").message.as_deref(),
            Some("Some resources are remaining: pods. has 2 resource instances")
        );
        assert_eq!(
            told("NamespaceFinalizersRemaining").message.as_deref(),
            Some("Some content in the namespace has finalizers remaining: example.com/wait in 1 resource instances")
        );
        assert_eq!(told("NamespaceDeletionContentFailure").status, "False");
        assert_eq!(found.conditions(&first, Timestamp::now()), first);
    }
}
