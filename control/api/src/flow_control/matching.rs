//! Does a request match a FlowSchema's rule (`k8s.io/apiserver/pkg/util/flowcontrol/rule.go`).

use orlop_auth::UserInfo;
use serde_json::Value;

use crate::request::RequestInfo;

/// One entry of `spec.rules`, taken apart once.
pub struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

enum Subject {
    User(String),
    Group(String),
    /// The beginning of its user's name, for all accounts of a namespace.
    Accounts(String),
}

struct ResourceRule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    namespaces: Vec<String>,
    cluster_scope: bool,
}

struct PathRule {
    verbs: Vec<String>,
    paths: Vec<String>,
}

/// The rules of a schema.
pub fn rules(rules: &Value) -> Vec<Rule> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let words = |value: &Value| serde_json::from_value::<Vec<String>>(value.clone()).unwrap_or_default();
    let rule = |rule: &Value| Rule {
        subjects: list(&rule["subjects"]).iter().filter_map(subject).collect(),
        resources: list(&rule["resourceRules"])
            .iter()
            .map(|rule| ResourceRule {
                verbs: words(&rule["verbs"]),
                groups: words(&rule["apiGroups"]),
                resources: words(&rule["resources"]),
                namespaces: words(&rule["namespaces"]),
                cluster_scope: rule["clusterScope"] == true,
            })
            .collect(),
        paths: list(&rule["nonResourceRules"])
            .iter()
            .map(|rule| PathRule { verbs: words(&rule["verbs"]), paths: words(&rule["nonResourceURLs"]) })
            .collect(),
    };
    list(rules).iter().map(rule).collect()
}

fn subject(subject: &Value) -> Option<Subject> {
    let name = |member: &str| Some(subject[member]["name"].as_str()?.to_owned());
    match subject["kind"].as_str()? {
        "User" => name("user").map(Subject::User),
        "Group" => name("group").map(Subject::Group),
        "ServiceAccount" => {
            let prefix = format!("system:serviceaccount:{}:", subject["serviceAccount"]["namespace"].as_str()?);
            Some(match name("serviceAccount")?.as_str() {
                "*" => Subject::Accounts(prefix),
                name => Subject::User(prefix + name),
            })
        }
        _ => None,
    }
}

impl Rule {
    /// Whether a request of this user matches.
    pub fn matches(&self, user: &UserInfo, info: &RequestInfo) -> bool {
        self.subjects.iter().any(|subject| subject.is(user))
            && if info.is_resource {
                self.resources.iter().any(|rule| rule.matches(info))
            } else {
                self.paths
                    .iter()
                    .any(|rule| has(&rule.verbs, info.verb) && rule.paths.iter().any(|p| leads(p, &info.path)))
            }
    }
}

impl Subject {
    fn is(&self, user: &UserInfo) -> bool {
        match self {
            Self::User(name) => name == "*" || *name == user.name,
            Self::Group(name) => name == "*" || user.groups.iter().any(|group| group == name),
            Self::Accounts(prefix) => user.name.starts_with(prefix.as_str()),
        }
    }
}

impl ResourceRule {
    fn matches(&self, info: &RequestInfo) -> bool {
        let place = match info.namespace.as_str() {
            "" => self.cluster_scope,
            namespace => has(&self.namespaces, namespace),
        };
        let named = match info.subresource.as_str() {
            "" => has(&self.resources, &info.resource),
            sub => {
                let whole = format!("{}/{sub}", info.resource);
                self.resources.iter().any(|resource| *resource == whole || resource == "*")
            }
        };
        has(&self.verbs, info.verb) && place && has(&self.groups, &info.group) && named
    }
}

fn has(list: &[String], word: &str) -> bool {
    list.iter().any(|entry| entry == word || entry == "*")
}

fn leads(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some("") => true,
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Query;
    use http::Method;

    fn first(user: &str, groups: &[&str], method: Method, path: &str) -> String {
        use orlop_kinds::flow_control::bootstrap;
        let user = UserInfo {
            name: user.into(),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            ..UserInfo::default()
        };
        let info = RequestInfo::new(&method, path, &Query::parse(""));
        let all = bootstrap::mandatory().into_iter().chain(bootstrap::suggested());
        let mut schemas: Vec<Value> = all.filter(|object| object["kind"] == "FlowSchema").collect();
        schemas.sort_by_key(|schema| schema["spec"]["matchingPrecedence"].as_i64());
        let found = schemas.iter().find(|s| rules(&s["spec"]["rules"]).iter().any(|rule| rule.matches(&user, &info)));
        found.unwrap()["metadata"]["name"].as_str().unwrap().to_owned()
    }

    #[test]
    fn every_request_finds_its_schema() {
        let all = ["system:authenticated"];
        let nodes = ["system:nodes", "system:authenticated"];
        assert_eq!(first("admin", &["system:masters"], Method::GET, "/api/v1/pods"), "exempt");
        assert_eq!(first("x", &all, Method::GET, "/healthz"), "probes");
        assert_eq!(first("x", &all, Method::GET, "/version"), "global-default");
        assert_eq!(first("system:node:a", &nodes, Method::PATCH, "/api/v1/nodes/a/status"), "system-node-high");
        assert_eq!(first("system:node:a", &nodes, Method::GET, "/api/v1/pods"), "system-nodes");
        let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x";
        assert_eq!(first("system:kube-scheduler", &all, Method::PUT, lease), "system-leader-election");
        assert_eq!(first("system:kube-scheduler", &all, Method::GET, "/api/v1/pods"), "kube-scheduler");
        let account = "system:serviceaccount:kube-system:job-controller";
        assert_eq!(first(account, &all, Method::GET, "/api/v1/pods"), "kube-system-service-accounts");
    }
}
