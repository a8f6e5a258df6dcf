//! Pods as `kubectl get pods -o json` tells of them.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// One pod.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its name, which is its host name too.
    pub name: String,
    /// Its Node.
    pub node: String,
    /// Its address; empty until it has one.
    pub ip: String,
    /// Condition Ready.
    pub ready: bool,
    /// Whether its deletion was asked for.
    pub terminating: bool,
    /// Restarts of its first container.
    pub restarts: u64,
}

/// All pods of a selector.
#[derive(Debug, Clone)]
pub struct Pods(pub Vec<Pod>);

impl Pods {
    /// Reads a PodList.
    pub fn parse(json: &str) -> Result<Self> {
        let list: Value = serde_json::from_str(json).context("kubectl printed no JSON")?;
        let items = list["items"].as_array().context("a list has items")?;
        Ok(Self(items.iter().map(pod).collect()))
    }

    /// Their names.
    pub fn names(&self) -> BTreeSet<String> {
        self.0.iter().map(|pod| pod.name.clone()).collect()
    }

    /// Whether there are exactly `count`, all Ready and none on its way out.
    pub fn all_ready(&self, count: usize) -> bool {
        self.0.len() == count && self.0.iter().all(|pod| pod.ready && !pod.terminating)
    }

    /// Those on one Node.
    pub fn on(&self, node: &str) -> Vec<&Pod> {
        self.0.iter().filter(|pod| pod.node == node).collect()
    }
}

fn pod(item: &Value) -> Pod {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let conditions = item["status"]["conditions"].as_array();
    let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    Pod {
        name: text(&item["metadata"]["name"]),
        node: text(&item["spec"]["nodeName"]),
        ip: text(&item["status"]["podIP"]),
        ready: conditions.is_some_and(|all| all.iter().any(ready)),
        terminating: !item["metadata"]["deletionTimestamp"].is_null(),
        restarts: item["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(0),
    }
}
