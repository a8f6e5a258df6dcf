//! One PolicyRule: what it allows, and which rules it covers (`rbac.authorization.k8s.io/v1`).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Attributes;

/// A rule of a role; the lists are sets, `*` is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRule {
    /// Verbs, or `*`.
    #[serde(default)]
    pub verbs: Vec<String>,
    /// API groups; the core group is the empty string.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// `pods`, `pods/log`, `*`, `*/scale`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Only these objects; empty is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// Paths; a `*` may stand at the end.
    #[serde(default, rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

impl PolicyRule {
    /// Reads a stored rule; what is not a list of strings counts as empty (validation keeps it out).
    pub fn read(value: &Value) -> Self {
        serde_json::from_value(value.clone()).unwrap_or_default()
    }

    /// Whether the rule allows the request.
    pub fn allows(&self, request: &Attributes<'_>) -> bool {
        if !has(&self.verbs, request.verb) {
            return false;
        }
        if request.resource.is_empty() {
            return self.non_resource_urls.iter().any(|url| url_covers(url, request.path));
        }
        has(&self.api_groups, request.group)
            && self.resources.iter().any(|resource| resource_covers(resource, request.resource, request.subresource))
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == request.name))
    }

    /// Takes the rule apart into rules with one verb, group, resource, name or URL each.
    fn breakdown(&self) -> Vec<Self> {
        let one = |item: &String| vec![item.clone()];
        let mut rules = Vec::new();
        for verb in &self.verbs {
            for url in &self.non_resource_urls {
                rules.push(Self { verbs: one(verb), non_resource_urls: one(url), ..Self::default() });
            }
            for group in &self.api_groups {
                for resource in &self.resources {
                    let rule =
                        Self { verbs: one(verb), api_groups: one(group), resources: one(resource), ..Self::default() };
                    if self.resource_names.is_empty() {
                        rules.push(rule);
                    } else {
                        rules.extend(
                            self.resource_names.iter().map(|name| Self { resource_names: one(name), ..rule.clone() }),
                        );
                    }
                }
            }
        }
        rules
    }

    /// Whether this rule covers `other`, which has at most one entry in each list.
    fn covers(&self, other: &Self) -> bool {
        let all = |mine: &[String], theirs: &[String]| theirs.iter().all(|item| has(mine, item));
        let resources = other.resources.iter().all(|wanted| {
            let (resource, subresource) = wanted.split_once('/').unwrap_or((wanted, ""));
            self.resources.iter().any(|mine| mine == wanted || resource_covers(mine, resource, subresource))
        });
        let names = self.resource_names.is_empty()
            || !other.resource_names.is_empty()
                && other.resource_names.iter().all(|name| self.resource_names.contains(name));
        let urls = other
            .non_resource_urls
            .iter()
            .all(|wanted| self.non_resource_urls.iter().any(|url| url_covers(url, wanted)));
        all(&self.verbs, &other.verbs) && all(&self.api_groups, &other.api_groups) && resources && names && urls
    }
}

fn resource_covers(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    if subresource.is_empty() {
        return rule == resource;
    }
    match rule.split_once('/') {
        Some((left, right)) => (left == "*" || left == resource) && right == subresource,
        None => false,
    }
}

fn url_covers(rule: &str, path: &str) -> bool {
    rule == "*" || rule == path || rule.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

/// The parts of `wanted` that no rule of `owned` covers: what an escalation would gain. Empty means no escalation.
pub fn uncovered(owned: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    let parts = wanted.iter().flat_map(PolicyRule::breakdown);
    parts.filter(|part| !owned.iter().any(|rule| rule.covers(part))).collect()
}
