//! What a request wants, in the words of the authorizer.

use crate::UserInfo;

/// One question to an authorizer (`authorization.k8s.io` SubjectAccessReview attributes).
#[derive(Debug, Clone, Default)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: Option<&'a UserInfo>,
    /// get, list, watch, create, update, patch, delete, deletecollection, ... or the HTTP method in small letters.
    pub verb: &'a str,
    /// API group, empty for core.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Plural, for example `pods`; empty for a non-resource request.
    pub resource: &'a str,
    /// For example `status`; empty for none.
    pub subresource: &'a str,
    /// Namespace, empty for cluster scope.
    pub namespace: &'a str,
    /// Object name, empty for a collection.
    pub name: &'a str,
    /// The URL path of a non-resource request.
    pub path: &'a str,
    /// `metadata.name=` of the field selector if it selects exactly one name (list, watch, deletecollection).
    pub field_selector: &'a str,
    /// `spec.nodeName=` of the field selector of pods; empty for none.
    pub pod_node_selector: &'a str,
}

/// An authorizer's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// May, and why.
    Allow(String),
    /// May not, whatever others say.
    Deny(String),
    /// This authorizer has nothing to say; if none has, the request is forbidden. Why, for the error text.
    NoOpinion(String),
}
