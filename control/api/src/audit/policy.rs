//! The audit policy (`audit.k8s.io/v1` Policy): what of which requests is written down. Pure: bytes into a policy, a request into a
//! level.

use std::collections::BTreeMap;

use orlop_auth::Attributes;
use orlop_kinds::{Errors, NameRule, field::Path};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::wire;

#[cfg(test)]
mod tests;

const API_VERSION: &str = "audit.k8s.io/v1";
/// Where kube-apiserver knows its kinds from, as its errors say.
const SCHEME: &str = "k8s.io/apiserver/pkg/audit/scheme.go:30";
const LEVELS: [&str; 4] = ["None", "Metadata", "Request", "RequestResponse"];
const STAGES: [&str; 4] = ["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"];

/// How much of a request is written down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who asked for what, and what came of it.
    Metadata,
    /// The object that was sent, too.
    Request,
    /// And the object that was answered.
    RequestResponse,
}

impl Level {
    /// As policies and metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// How far a request has come when an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Stage {
    /// Its sender is known, and nothing was done yet.
    RequestReceived,
    /// The head of the answer to a request that lasts is known.
    ResponseStarted,
    /// The answer is known, or what lasted is over.
    ResponseComplete,
    /// This server failed at it.
    Panic,
}

/// A set of stages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stages(u8);

impl Stages {
    /// Whether a stage is among them.
    pub fn has(self, stage: Stage) -> bool {
        self.0 & (1 << stage as u8) != 0
    }

    fn of(names: &[String]) -> Self {
        let bit = |name: &String| STAGES.iter().position(|stage| stage == name).map_or(0, |at| 1 << at);
        Self(names.iter().map(bit).fold(0, |all, one| all | one))
    }

    fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }
}

/// What a policy says of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How much is written down.
    pub level: Level,
    /// Of which stages nothing is.
    pub omit: Stages,
    /// Whether objects are written without their `managedFields`.
    pub omit_managed_fields: bool,
}

/// A policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
    /// For what no rule matches.
    otherwise: Verdict,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Rule {
    said: PolicyRule,
    verdict: Verdict,
}

/// The file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    kind: String,
    api_version: String,
    #[serde(rename = "metadata")]
    _metadata: Value,
    #[serde(deserialize_with = "nullable")]
    rules: Vec<PolicyRule>,
    #[serde(deserialize_with = "nullable")]
    omit_stages: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    omit_managed_fields: bool,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PolicyRule {
    #[serde(deserialize_with = "nullable")]
    level: String,
    #[serde(deserialize_with = "nullable")]
    users: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    user_groups: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    verbs: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    resources: Vec<GroupResources>,
    #[serde(deserialize_with = "nullable")]
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs", deserialize_with = "nullable")]
    non_resource_urls: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GroupResources {
    #[serde(deserialize_with = "nullable")]
    group: String,
    #[serde(deserialize_with = "nullable")]
    resources: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    resource_names: Vec<String>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

/// What is null is not said, as for Go.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

impl Policy {
    /// Reads a policy, JSON or YAML. As for kube-apiserver, fields that it does not know, or that stand twice, are no error but told.
    pub fn parse(bytes: &[u8]) -> Result<(Self, Vec<String>), String> {
        let (value, twice) = wire::parse_yaml(bytes).map_err(|why| format!("failed decoding: {why}"))?;
        let undecodable = |why: &dyn std::fmt::Display| format!("failed decoding: {why}");
        let value = if value.is_null() { Value::Object(serde_json::Map::new()) } else { value };
        let file: File = serde_json::from_value(value).map_err(|error| undecodable(&error))?;
        if file.kind.is_empty() || file.api_version.is_empty() {
            // What does not say what it is is taken for the internal type, which no file may have.
            return Err("unknown group version field audit.k8s.io/__internal, Kind=Policy in policy".into());
        }
        let (kind, version) = (&file.kind, &file.api_version);
        if version != API_VERSION || kind != "Policy" {
            return Err(undecodable(&format_args!(
                "no kind {kind:?} is registered for version {version:?} in scheme {SCHEME:?}"
            )));
        }
        let mut told: Vec<String> = twice.into_iter().collect();
        told.extend(file.unknown().into_iter().map(|path| format!("unknown field {path:?}")));
        let errors = file.validate();
        if !errors.is_empty() {
            return Err(errors.message());
        }
        if file.rules.is_empty() {
            return Err("loaded illegal policy with 0 rules".into());
        }
        Ok((file.compile(), told))
    }

    /// What is to be written of a request. The first rule that matches says so, and nothing is without one.
    pub fn judge(&self, request: &Attributes<'_>) -> Verdict {
        self.rules.iter().find(|rule| rule.said.matches(request)).map_or(self.otherwise, |rule| rule.verdict)
    }
}

impl File {
    fn unknown(&self) -> Vec<String> {
        let mut paths: Vec<String> = self.unknown.keys().cloned().collect();
        for (i, rule) in self.rules.iter().enumerate() {
            paths.extend(rule.unknown.keys().map(|key| format!("rules[{i}].{key}")));
            for (j, of) in rule.resources.iter().enumerate() {
                paths.extend(of.unknown.keys().map(|key| format!("rules[{i}].resources[{j}].{key}")));
            }
        }
        paths
    }

    fn validate(&self) -> Errors {
        let mut errors = Errors::default();
        validate_stages(&self.omit_stages, &Path::new("omitStages"), &mut errors);
        let rules = Path::new("rules");
        for (i, rule) in self.rules.iter().enumerate() {
            rule.validate(&rules.index(i), &mut errors);
        }
        errors
    }

    fn compile(self) -> Policy {
        let omit = Stages::of(&self.omit_stages);
        let omits_managed_fields = self.omit_managed_fields;
        let rule = |said: PolicyRule| {
            let level = match said.level.as_str() {
                "Metadata" => Level::Metadata,
                "Request" => Level::Request,
                "RequestResponse" => Level::RequestResponse,
                _ => Level::None,
            };
            let verdict = Verdict {
                level,
                omit: omit.with(Stages::of(&said.omit_stages)),
                omit_managed_fields: said.omit_managed_fields.unwrap_or(omits_managed_fields),
            };
            Rule { said, verdict }
        };
        Policy {
            otherwise: Verdict { level: Level::None, omit, omit_managed_fields: omits_managed_fields },
            rules: self.rules.into_iter().map(rule).collect(),
        }
    }
}

fn validate_stages(stages: &[String], path: &Path<'_>, errors: &mut Errors) {
    for (i, stage) in stages.iter().enumerate().filter(|(_, stage)| !STAGES.contains(&stage.as_str())) {
        errors.invalid(&path.index(i), stage.as_str(), format!("allowed stages are {}", STAGES.join(",")));
    }
}

impl PolicyRule {
    fn validate(&self, path: &Path<'_>, errors: &mut Errors) {
        match self.level.as_str() {
            "" => errors.required(&path.child("level"), ""),
            level if !LEVELS.contains(&level) => errors.not_supported(&path.child("level"), level, &LEVELS),
            _ => {}
        }
        let urls = path.child("nonResourceURLs");
        for (i, url) in self.non_resource_urls.iter().enumerate().filter(|(_, url)| *url != "*") {
            if !url.starts_with('/') {
                let why = "non-resource URL rules must begin with a '/' character";
                errors.invalid(&urls.index(i), url.as_str(), why);
            }
            if url.find('*').is_some_and(|at| at + 1 < url.len()) {
                let why = "non-resource URL wildcards '*' must be the final character of the rule";
                errors.invalid(&urls.index(i), url.as_str(), why);
            }
        }
        let resources = path.child("resources");
        for of in &self.resources {
            if !matches!(of.group.as_str(), "" | "*") {
                let wrong = NameRule::Subdomain.check(&of.group, false);
                if !wrong.is_empty() {
                    errors.invalid(&resources.child("group"), of.group.as_str(), wrong.join(","));
                }
            }
            if !of.resource_names.is_empty() && of.resources.is_empty() {
                let why = "using resourceNames requires at least one resource";
                errors.invalid(&resources.child("resourceNames"), of.resource_names.clone(), why);
            }
        }
        validate_stages(&self.omit_stages, &path.child("omitStages"), errors);
        let of_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if !self.non_resource_urls.is_empty() && of_resources {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            errors.invalid(&urls, self.non_resource_urls.clone(), why);
        }
    }

    fn matches(&self, request: &Attributes<'_>) -> bool {
        let has = |list: &[String], value: &str| list.iter().any(|one| one == value);
        if !self.users.is_empty() && !request.user.is_some_and(|user| has(&self.users, &user.name)) {
            return false;
        }
        let is_member = |groups: &[String]| groups.iter().any(|group| has(&self.user_groups, group));
        if !self.user_groups.is_empty() && !request.user.is_some_and(|user| is_member(&user.groups)) {
            return false;
        }
        if !self.verbs.is_empty() && !has(&self.verbs, request.verb) {
            return false;
        }
        // Paths are asked of what is no resource only.
        let is_resource = request.path.is_empty();
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            // What is in no namespace is in the one without a name.
            let here = self.namespaces.is_empty() || has(&self.namespaces, request.namespace);
            let this = || self.resources.is_empty() || self.resources.iter().any(|of| of.matches(request));
            return is_resource && here && this();
        }
        if !self.non_resource_urls.is_empty() {
            return !is_resource && self.non_resource_urls.iter().any(|url| path_matches(url, request.path));
        }
        true
    }
}

impl GroupResources {
    fn matches(&self, request: &Attributes<'_>) -> bool {
        if self.group != "*" && self.group != request.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !self.resource_names.is_empty() && !self.resource_names.iter().any(|name| name == request.name) {
            return false;
        }
        let (resource, sub) = (request.resource, request.subresource);
        self.resources.iter().any(|wanted| match wanted.split_once('/') {
            None => wanted == "*" || sub.is_empty() && wanted == resource,
            Some(("*", wanted)) if !sub.is_empty() && wanted == sub => true,
            // Of all parts, as kube-apiserver has it the whole is one.
            Some((wanted, "*")) => wanted == resource,
            Some((wanted, part)) => wanted == resource && part == sub,
        })
    }
}

fn path_matches(wanted: &str, path: &str) -> bool {
    wanted == "*" || wanted == path || wanted.ends_with('*') && path.starts_with(wanted.trim_end_matches('*'))
}
