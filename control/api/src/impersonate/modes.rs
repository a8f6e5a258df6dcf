//! The ways in which a user may be allowed to act as another (KEP-5284), tried in kube-apiserver's order. The newer ones ask twice: may
//! they do this while they act as somebody of that sort (`impersonate-on:MODE:VERB`), and may they act as this one (`impersonate:MODE`).
//! The last is the old one, in which `impersonate` allows whatever the other may do.

use orlop_auth::UserInfo;

use crate::authorize::Authorizer;
use crate::request::{Query, RequestInfo};
use crate::status::Status;

const NODE: &str = "system:node:";
const ACCOUNT: &str = "system:serviceaccount:";
const NODES: &str = "system:nodes";
const MASTERS: &str = "system:masters";
const AUTHENTICATION: &str = "authentication.k8s.io";
/// Where a service account's token names the node of its pod.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// So many groups or extra values are asked for at once first.
const MANY: usize = 4;

/// One way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// A service account as the node that its pod runs on.
    AssociatedNode,
    /// Anybody as a node.
    ArbitraryNode,
    /// Anybody as a service account.
    ServiceAccount,
    /// Anybody as somebody who is neither.
    UserInfo,
    /// Anybody as anybody.
    Legacy,
}

/// All, in the order in which they are tried.
pub(super) const MODES: [Mode; 5] =
    [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Legacy];

/// The node that a user is.
fn node(user: &str) -> Option<&str> {
    user.strip_prefix(NODE).filter(|name| orlop_kinds::NameRule::Subdomain.check(name, false).is_empty())
}

/// Namespace and name of the service account that a user is.
pub(super) fn account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(ACCOUNT)?.split_once(':')?;
    let well_formed = orlop_kinds::NameRule::Label.check(namespace, false).is_empty()
        && orlop_kinds::NameRule::Subdomain.check(name, false).is_empty();
    well_formed.then_some((namespace, name))
}

impl Mode {
    fn name(self) -> Option<&'static str> {
        match self {
            Self::AssociatedNode => Some("associated-node"),
            Self::ArbitraryNode => Some("arbitrary-node"),
            Self::ServiceAccount => Some("serviceaccount"),
            Self::UserInfo => Some("user-info"),
            Self::Legacy => None,
        }
    }

    /// The verb that allows it; of the oldest way nothing is said.
    pub(super) fn constraint(self) -> String {
        self.name().map(|mode| format!("impersonate:{mode}")).unwrap_or_default()
    }

    /// Whether `caller` may ask for such a user in this way.
    pub(super) fn applies(self, caller: &UserInfo, wanted: &UserInfo) -> bool {
        let only_name = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        match self {
            Self::AssociatedNode => {
                let own = match caller.extra.get(NODE_NAME).map(Vec::as_slice) {
                    Some([own]) => own.as_str(),
                    _ => "",
                };
                only_name && account(&caller.name).is_some() && node(&wanted.name).is_some_and(|name| name == own)
            }
            Self::ArbitraryNode => only_name && node(&wanted.name).is_some(),
            Self::ServiceAccount => only_name && account(&wanted.name).is_some(),
            Self::UserInfo => node(&wanted.name).is_none() && account(&wanted.name).is_none(),
            Self::Legacy => true,
        }
    }

    /// Asks whether `caller` may make the request as `wanted`; the groups that this way gives.
    pub(super) fn check(
        self,
        authorizer: &Authorizer,
        caller: &UserInfo,
        wanted: &UserInfo,
        info: &RequestInfo,
        query: &Query,
    ) -> Result<Option<Vec<String>>, Status> {
        if let Some(mode) = self.name() {
            let verb = format!("impersonate-on:{mode}:{}", info.verb);
            authorizer.check_verb(caller, info, query, &verb)?;
        }
        let verb = match self {
            Self::Legacy => "impersonate".to_owned(),
            _ => self.constraint(),
        };
        let own = if self == Self::Legacy { "" } else { AUTHENTICATION };
        let about = |group: &str, resource: &str, namespace: &str, name: &str, subresource: &str| RequestInfo {
            is_resource: true,
            group: group.to_owned(),
            version: "v1".to_owned(),
            namespace: namespace.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            name: name.to_owned(),
            ..RequestInfo::default()
        };
        let ask = |about: RequestInfo| authorizer.check_verb(caller, &about, &Query::default(), &verb);
        let mut groups = None;
        match (node(&wanted.name), account(&wanted.name)) {
            (Some(name), _) if self != Self::Legacy => {
                // Which node it is, the caller's token has said.
                let name = if self == Self::AssociatedNode { "*" } else { name };
                ask(about(own, "nodes", "", name, ""))?;
                groups = Some(vec![NODES.to_owned()]);
            }
            (_, Some((namespace, name))) => {
                ask(about(own, "serviceaccounts", namespace, name, ""))?;
                if wanted.groups.is_empty() {
                    groups = Some(UserInfo::service_account(namespace, name).groups);
                }
            }
            _ => ask(about(own, "users", "", &wanted.name, ""))?,
        }
        if !wanted.uid.is_empty() {
            ask(about(AUTHENTICATION, "uids", "", &wanted.uid, ""))?;
        }
        self.check_groups(wanted, &|name| ask(about(own, "groups", "", name, "")))?;
        self.check_extra(wanted, &|key, value| ask(about(AUTHENTICATION, "userextras", "", value, key)))?;
        Ok(groups)
    }

    fn check_groups(self, wanted: &UserInfo, ask: &dyn Fn(&str) -> Result<(), Status>) -> Result<(), Status> {
        if self != Self::Legacy {
            let refuse = |name: &str, why: &str| Err(Status::forbidden(AUTHENTICATION, "groups", name, why));
            if wanted.groups.iter().any(String::is_empty) {
                return refuse("", "impersonating the empty string group is not allowed");
            }
            if wanted.groups.iter().any(|group| group == MASTERS) {
                return refuse(MASTERS, "impersonating the system:masters group is not allowed");
            }
            if wanted.groups.len() >= MANY && ask("*").is_ok() {
                return Ok(());
            }
        }
        wanted.groups.iter().try_for_each(|group| ask(group))
    }

    fn check_extra(self, wanted: &UserInfo, ask: &dyn Fn(&str, &str) -> Result<(), Status>) -> Result<(), Status> {
        if self != Self::Legacy {
            let refuse = |why: &str| Err(Status::forbidden(AUTHENTICATION, "userextras", "", why));
            if wanted.extra.keys().any(String::is_empty) {
                return refuse("impersonating the empty string key in extra is not allowed");
            }
            if wanted.extra.values().flatten().any(String::is_empty) {
                return refuse("impersonating the empty string value in extra is not allowed");
            }
            let values: usize = wanted.extra.values().map(Vec::len).sum();
            if values >= MANY && ask("*", "*").is_ok() {
                return Ok(());
            }
        }
        wanted
            .extra
            .iter()
            .flat_map(|(key, values)| values.iter().map(move |value| (key, value)))
            .try_for_each(|(key, value)| ask(key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_service_accounts_are_known_by_their_names() {
        assert_eq!(node("system:node:n1"), Some("n1"));
        assert_eq!(node("system:node:N 1"), None);
        assert_eq!(account("system:serviceaccount:a:b"), Some(("a", "b")));
        assert_eq!(account("system:serviceaccount:a:b:c"), None);
    }

    /// Somebody of whom only the name is wanted.
    fn named(name: &str) -> UserInfo {
        UserInfo { name: name.to_owned(), ..UserInfo::default() }
    }

    #[test]
    fn each_way_is_for_its_own_sort_of_user() {
        let applies = |wanted: &str| {
            let (caller, wanted) = (UserInfo::new("me", [""; 0]), named(wanted));
            let all = MODES.iter().filter(|mode| mode.applies(&caller, &wanted));
            all.filter_map(|mode| mode.name()).collect::<Vec<_>>()
        };
        assert_eq!(applies("system:node:n1"), ["arbitrary-node"]);
        assert_eq!(applies("system:serviceaccount:a:b"), ["serviceaccount"]);
        assert_eq!(applies("eve"), ["user-info"]);
    }

    #[test]
    fn a_pod_may_act_as_its_own_node_alone() {
        let mut caller = UserInfo::service_account("a", "agent");
        caller.extra.insert(NODE_NAME.into(), vec!["n1".into()]);
        let node = |name: &str| Mode::AssociatedNode.applies(&caller, &named(name));
        assert!(node("system:node:n1"));
        assert!(!node("system:node:n2"));
    }
}
