//! Which requests a webhook or a policy is for: rules of operations and resources, the scope, the labels of the namespace and
//! of the object, and other versions of the same resource if `matchPolicy` is Equivalent. Webhooks and policies share it.

use std::sync::Arc;

use orlop_kinds::LabelSelector;
use serde_json::Value;

use super::attributes::{Attributes, GroupVersionKind, Operation};
use crate::catalog::Resource;
use crate::object::meta;
use crate::status::Status;

/// One rule (`RuleWithOperations`, and `NamedRuleWithOperations` of policies).
#[derive(Debug, Clone)]
pub struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    scope: String,
}

/// What a request must be for a webhook or policy to see it.
#[derive(Debug, Clone)]
pub struct Criteria {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    equivalent: bool,
    namespace: Result<LabelSelector, String>,
    object: Result<LabelSelector, String>,
}

/// As what the webhook or policy sees the request.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The resource that its rule names.
    pub resource: Arc<Resource>,
    /// What that resource, or its subresource, speaks.
    pub kind: GroupVersionKind,
}

impl Rule {
    /// Reads one.
    pub fn read(rule: &Value) -> Self {
        let list = |field: &str| -> Vec<String> {
            rule[field].as_array().into_iter().flatten().filter_map(|v| v.as_str().map(Into::into)).collect()
        };
        Self {
            operations: list("operations"),
            groups: list("apiGroups"),
            versions: list("apiVersions"),
            resources: list("resources"),
            names: list("resourceNames"),
            scope: rule["scope"].as_str().unwrap_or("*").to_owned(),
        }
    }

    /// Reads a list of them.
    pub fn read_all(rules: &Value) -> Vec<Self> {
        rules.as_array().into_iter().flatten().map(Self::read).collect()
    }

    fn matches(&self, attributes: &Attributes<'_>, resource: &Resource) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|item| item == "*" || item == wanted);
        let is_namespace = resource.group.is_empty() && resource.plural == "namespaces";
        let in_namespace = !is_namespace && !attributes.namespace.is_empty();
        let scope = match self.scope.as_str() {
            "*" => true,
            "Namespaced" => in_namespace,
            "Cluster" => !in_namespace,
            _ => false,
        };
        scope
            && has(&self.operations, attributes.operation.as_str())
            && has(&self.groups, &resource.group)
            && has(&self.versions, &resource.version)
            && self.resources.iter().any(|wanted| {
                let (name, sub) = wanted.split_once('/').unwrap_or((wanted, ""));
                (name == "*" || name == resource.plural) && (sub == "*" || sub == attributes.subresource)
            })
            && (self.names.is_empty() || self.names.contains(&attributes.name))
    }
}

impl Criteria {
    /// Reads those of a webhook, whose rules are `rules`.
    pub fn of_webhook(webhook: &Value) -> Self {
        Self { rules: Rule::read_all(&webhook["rules"]), ..Self::of_policy(webhook) }
    }

    /// Reads `matchConstraints` of a policy, or `matchResources` of a binding.
    pub fn of_policy(resources: &Value) -> Self {
        let selector = |field: &str| match &resources[field] {
            Value::Null => Ok(LabelSelector::everything()),
            selector => LabelSelector::from_object(selector),
        };
        Self {
            rules: Rule::read_all(&resources["resourceRules"]),
            excluded: Rule::read_all(&resources["excludeResourceRules"]),
            equivalent: resources["matchPolicy"] != "Exact",
            namespace: selector("namespaceSelector"),
            object: selector("objectSelector"),
        }
    }

    /// As what the request is seen, or nothing if it is not.
    pub fn seen(&self, attributes: &Attributes<'_>, object: &Value) -> Result<Option<Seen>, Status> {
        // A selector that cannot be told is only an error for requests that the rules choose.
        let selected = self.selects(attributes, object);
        if matches!(selected, Ok(false)) {
            return Ok(None);
        }
        if self.excluded.iter().any(|rule| self.match_rule(rule, attributes).is_some()) {
            return Ok(None);
        }
        let exact = self.rules.iter().any(|rule| rule.matches(attributes, &attributes.resource));
        let resource = if exact {
            Some(attributes.resource.clone())
        } else {
            self.rules.iter().find_map(|rule| self.match_rule(rule, attributes))
        };
        let Some(resource) = resource else { return Ok(None) };
        selected?;
        let kind = GroupVersionKind::of(&resource, &attributes.subresource);
        Ok(Some(Seen { resource, kind }))
    }

    /// The resource by which a rule matches: the one asked for, or the same in another version.
    fn match_rule(&self, rule: &Rule, attributes: &Attributes<'_>) -> Option<Arc<Resource>> {
        if rule.matches(attributes, &attributes.resource) {
            return Some(attributes.resource.clone());
        }
        if !self.equivalent || attributes.resource.storage.is_empty() {
            return None;
        }
        let catalog = attributes.call.server.catalog();
        let sub = attributes.subresource.as_str();
        catalog
            .iter()
            .filter(|other| other.storage == attributes.resource.storage && **other != attributes.resource)
            .filter(|other| sub.is_empty() || other.subresource(sub).is_some())
            .find(|other| rule.matches(attributes, other))
            .cloned()
    }

    fn selects(&self, attributes: &Attributes<'_>, object: &Value) -> Result<bool, Status> {
        let by_object = self.object.as_ref().map_err(Status::internal)?;
        let labels =
            |value: Option<&Value>| value.is_some_and(|v| v.is_object() && by_object.matches(&v["metadata"]["labels"]));
        if !by_object.is_empty() && !labels(Some(object)) && !labels(attributes.old) {
            return Ok(false);
        }
        let resource = &attributes.resource;
        let is_namespace = resource.group.is_empty() && resource.plural == "namespaces";
        if attributes.namespace.is_empty() && !is_namespace {
            return Ok(true);
        }
        let by_namespace = self.namespace.as_ref().map_err(Status::internal)?;
        if by_namespace.is_empty() {
            return Ok(true);
        }
        let own = is_namespace
            && attributes.subresource.is_empty()
            && matches!(attributes.operation, Operation::Create | Operation::Update);
        if own {
            return Ok(by_namespace.matches(&object["metadata"]["labels"]));
        }
        let namespace = namespace(attributes)?;
        Ok(by_namespace.matches(&namespace["metadata"]["labels"]))
    }
}

/// The namespace of a request, as it is now.
pub fn namespace(attributes: &Attributes<'_>) -> Result<Value, Status> {
    let cache = attributes.call.server.registry().hub().cache_at("namespaces");
    let found = cache.and_then(|cache| cache.get(&attributes.namespace)).map(|object| object.value());
    let found = found.or_else(|| {
        attributes.old.filter(|old| old["kind"] == "Namespace" && meta(old, "name") == attributes.namespace).cloned()
    });
    found.ok_or_else(|| Status::not_found_as("", "namespaces", &attributes.namespace))
}
