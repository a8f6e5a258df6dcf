//! Aggregated ClusterRoles (`pkg/controller/clusterroleaggregation`): one with an aggregationRule holds the rules of all roles
//! that its selectors find, written into it by server-side apply. Authorization reads what stands there and knows of no union.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::{Patch, PatchParams};
use kube::core::{ParseExpressionError, Selector, SelectorExt as _};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Next};
use crate::{Informer, Key, Queue};

pub(crate) const NAME: &str = "clusterrole-aggregation-controller";

/// Runs the controller until cancelled.
pub(crate) async fn run(client: Client, roles: Arc<Informer<ClusterRole>>, stop: CancellationToken) {
    let queue = Queue::<Key>::default();
    roles.synced().await;
    let (view, all) = (Arc::downgrade(&roles), queue.clone());
    // Who aggregates whom is not written down anywhere, and there are few: each change is a reason to look at all of them.
    roles.on_change(move |_, _| {
        let aggregated = view.upgrade().map(|roles| roles.all()).unwrap_or_default();
        aggregated
            .iter()
            .filter(|role| role.aggregation_rule.is_some())
            .for_each(|role| all.add(Key::of(role.as_ref())));
    });
    let reconcile = move |key: Key| {
        let (client, roles) = (client.clone(), roles.clone());
        async move { reconcile(&client, &roles, &key).await }
    };
    controller::work(NAME, queue, 1, stop, reconcile).await;
}

async fn reconcile(client: &Client, roles: &Informer<ClusterRole>, key: &Key) -> Result<Next, kube::Error> {
    let Some(role) = roles.get(key).filter(|role| role.metadata.deletion_timestamp.is_none()) else {
        return Ok(Next::Settled);
    };
    let rules = match union(&role, &roles.all()) {
        Ok(Some(rules)) => rules,
        Ok(None) => return Ok(Next::Settled),
        // Validation keeps such selectors out.
        Err(error) => {
            tracing::warn!(controller = NAME, %key, %error, "a selector that cannot be read");
            return Ok(Next::Settled);
        }
    };
    let mut wanted = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": key.name},
    });
    if !rules.is_empty() {
        wanted["rules"] = json!(rules);
    }
    let how = PatchParams::apply(NAME).force();
    controller::gone_is_fine(
        Api::<ClusterRole>::all(client.clone()).patch(&key.name, &how, &Patch::Apply(wanted)).await,
    )?;
    Ok(Next::Settled)
}

/// The rules that `role` should hold, if they are not those that it holds: of each selector in turn, the rules of the roles that it
/// finds, by name; each rule once.
fn union(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Result<Option<Vec<PolicyRule>>, ParseExpressionError> {
    let Some(aggregation) = &role.aggregation_rule else { return Ok(None) };
    let mut others: Vec<&ClusterRole> =
        all.iter().map(AsRef::as_ref).filter(|o| o.name_any() != role.name_any()).collect();
    others.sort_by_key(|other| other.name_any());
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in aggregation.cluster_role_selectors.iter().flatten() {
        let selector = Selector::try_from(selector.clone())?;
        for rule in others.iter().filter(|o| selector.matches(o.labels())).flat_map(|other| of(other)) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    Ok((rules != of(role).collect::<Vec<_>>()).then_some(rules))
}

/// A role's rules; a list without items is as good as none.
fn of(role: &ClusterRole) -> impl Iterator<Item = PolicyRule> {
    let listed = |list: &Option<Vec<String>>| list.clone().filter(|items| !items.is_empty());
    role.rules.iter().flatten().map(move |rule| PolicyRule {
        api_groups: listed(&rule.api_groups),
        non_resource_urls: listed(&rule.non_resource_urls),
        resource_names: listed(&rule.resource_names),
        resources: listed(&rule.resources),
        verbs: rule.verbs.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn role(name: &str, label: &str, rules: Value) -> Arc<ClusterRole> {
        let object = json!({"metadata": {"name": name, "labels": {label: "true"}}, "rules": rules});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn pods(verb: &str) -> Value {
        json!({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]})
    }

    fn aggregated(selectors: Value, rules: Value) -> ClusterRole {
        let object = json!({
            "metadata": {"name": "hammer", "labels": {"all": "true"}}, "rules": rules,
            "aggregationRule": {"clusterRoleSelectors": selectors},
        });
        serde_json::from_value(object).unwrap()
    }

    fn verbs(rules: Option<Vec<PolicyRule>>) -> Option<Vec<String>> {
        rules.map(|rules| rules.into_iter().flat_map(|rule| rule.verbs).collect())
    }

    #[test]
    fn rules_come_selector_by_selector_and_by_name_and_each_once() {
        let all = [
            role("c", "late", json!([pods("delete")])),
            role("b", "early", json!([pods("list"), pods("get")])),
            role("a", "early", json!([pods("get")])),
            role("z", "other", json!([pods("create")])),
        ];
        let selectors =
            json!([{"matchLabels": {"early": "true"}}, {"matchExpressions": [{"key": "late", "operator": "Exists"}]}]);
        let hammer = aggregated(selectors, json!(null));
        assert_eq!(verbs(union(&hammer, &all).unwrap()), Some(["get", "list", "delete"].map(String::from).to_vec()));
    }

    #[test]
    fn a_role_that_holds_its_rules_is_left_alone_and_one_that_has_lost_its_parts_is_emptied() {
        let parts = [role(
            "a",
            "all",
            json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": []}]),
        )];
        let selectors = json!([{"matchLabels": {"all": "true"}}]);
        assert_eq!(union(&aggregated(selectors.clone(), json!([pods("get")])), &parts).unwrap(), None);
        let hammer = aggregated(selectors, json!([pods("get")]));
        let itself = [Arc::new(hammer.clone())];
        assert_eq!(union(&hammer, &itself).unwrap(), Some(Vec::new()), "its own rules are none of its parts");
    }

    #[test]
    fn a_role_without_an_aggregation_rule_is_nobodys_business() {
        assert_eq!(union(&role("a", "all", json!([pods("get")])), &[]).unwrap(), None);
    }
}
