//! What pods ask for and Nodes have, as numbers: cpu in thousandths, everything else in its unit.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

pub(crate) const CPU: &str = "cpu";
pub(crate) const MEMORY: &str = "memory";
/// A container that asks for nothing is scored as if it asked for this (`GetNonzeroRequests`).
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts by resource name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resources(BTreeMap<String, i64>);

impl Resources {
    /// Reads a ResourceList; what is no quantity counts as nothing.
    pub(crate) fn of(list: Option<&BTreeMap<String, Quantity>>) -> Self {
        let amounts = list.into_iter().flatten().filter_map(|(name, quantity)| {
            let quantity: orlop_kinds::Quantity = quantity.0.parse().ok()?;
            Some((name.clone(), if name == CPU { quantity.milli_value() } else { quantity.value() }))
        });
        Self(amounts.collect())
    }

    pub(crate) fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let rest = self.0.entry(name.clone()).or_default();
            *rest = rest.saturating_sub(*amount);
        }
    }

    fn raise(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let highest = self.0.entry(name.clone()).or_default();
            *highest = (*highest).max(*amount);
        }
    }

    fn at_least(mut self, name: &str, amount: i64) -> Self {
        self.0.entry(name.to_owned()).or_insert(amount);
        self
    }
}

/// What a pod asks for together: its containers and sidecars, or the largest step of its initialisation; pod-level requests
/// (KEP-2837) come before both, and the overhead of its runtime on top.
pub(crate) fn requests(spec: &PodSpec) -> Resources {
    total(spec, &|container| Resources::of(container.resources.as_ref().and_then(|r| r.requests.as_ref())))
}

/// The same, where a container that asks for no cpu or memory counts with a little of each: many of them still fill a Node.
pub(crate) fn scored_requests(spec: &PodSpec) -> Resources {
    total(spec, &|container| {
        Resources::of(container.resources.as_ref().and_then(|r| r.requests.as_ref()))
            .at_least(CPU, DEFAULT_MILLI_CPU)
            .at_least(MEMORY, DEFAULT_MEMORY)
    })
}

fn total(spec: &PodSpec, of: &dyn Fn(&Container) -> Resources) -> Resources {
    let mut total = Resources::default();
    for container in &spec.containers {
        total.add(&of(container));
    }
    let (mut sidecars, mut peak) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let requests = of(container);
        let mut step = sidecars.clone();
        step.add(&requests);
        if container.restart_policy.as_deref() == Some("Always") {
            total.add(&requests);
            sidecars = step.clone();
        }
        peak.raise(&step);
    }
    total.raise(&peak);
    let pod_level = Resources::of(spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()));
    total.0.extend(pod_level.0);
    total.add(&Resources::of(spec.overhead.as_ref()));
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(value: serde_json::Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_pod_asks_for_its_containers_or_its_largest_init_step_and_its_overhead() {
        let cpu = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let spec = spec(json!({
            "containers": [{"name": "a", "resources": cpu("1")}, {"name": "b", "resources": cpu("500m")}],
            "initContainers": [
                {"name": "c", "resources": cpu("1")},
                {"name": "d", "restartPolicy": "Always", "resources": cpu("200m")},
                {"name": "e", "resources": cpu("2")},
            ],
            "overhead": {"cpu": "50m"},
        }));
        assert_eq!(requests(&spec).get(CPU), 2250);
    }

    #[test]
    fn pod_level_requests_come_first() {
        let spec = spec(json!({
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "1", "memory": "1Ki"}}}],
            "resources": {"requests": {"cpu": "3"}},
        }));
        assert_eq!((requests(&spec).get(CPU), requests(&spec).get(MEMORY)), (3000, 1024));
    }

    #[test]
    fn a_pod_that_asks_for_nothing_is_scored_with_a_little() {
        let spec = spec(json!({"containers": [{"name": "a"}, {"name": "b"}]}));
        assert_eq!(requests(&spec), Resources::default());
        assert_eq!((scored_requests(&spec).get(CPU), scored_requests(&spec).get(MEMORY)), (200, 2 * DEFAULT_MEMORY));
    }
}
