//! The authenticated caller.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Who a request comes from, as `authentication.k8s.io/v1` UserInfo writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserInfo {
    /// Unique name, for example `system:node:node1`.
    #[serde(rename = "username")]
    pub name: String,
    /// Identity across re-creations of the same name; often empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Groups, `system:authenticated` or `system:unauthenticated` among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Whatever the authenticator added.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// Group of everyone who is known.
    pub const AUTHENTICATED: &'static str = "system:authenticated";
    /// Group of everyone who is not.
    pub const UNAUTHENTICATED: &'static str = "system:unauthenticated";

    /// A known user with the groups given; `system:authenticated` is added.
    pub fn new<G: Into<String>>(name: impl Into<String>, groups: impl IntoIterator<Item = G>) -> Self {
        let mut groups: Vec<String> = groups.into_iter().map(Into::into).collect();
        if !groups.iter().any(|g| g == Self::AUTHENTICATED) {
            groups.push(Self::AUTHENTICATED.into());
        }
        Self { name: name.into(), groups, ..Self::default() }
    }

    /// `system:anonymous`.
    pub fn anonymous() -> Self {
        Self { name: "system:anonymous".into(), groups: vec![Self::UNAUTHENTICATED.into()], ..Self::default() }
    }

    /// The service account `namespace`/`name`, with the groups that every service account has.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self::new(
            format!("system:serviceaccount:{namespace}:{name}"),
            ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")],
        )
    }
}
