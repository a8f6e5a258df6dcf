//! `authorizer`: questions about what a user may do. Whoever evaluates answers them through [`Authorizer`].

use std::sync::Arc;

/// A question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Ask about this service account (namespace, name) instead of the user of the request.
    pub service_account: Option<(String, String)>,
    /// A path that is no resource.
    pub path: Option<String>,
    /// API group.
    pub group: String,
    /// Plural.
    pub resource: String,
    /// Subresource.
    pub subresource: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Verb.
    pub verb: String,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why, or why not.
    pub reason: String,
    /// What went wrong while asking.
    pub error: String,
}

/// Who answers.
pub trait Authorizer: Sync {
    /// Whether the user may.
    fn check(&self, question: &Question) -> Decision;
}

/// What an expression holds while it puts a question together.
#[derive(Clone)]
pub struct Handle<'a> {
    pub(crate) authorizer: &'a dyn Authorizer,
    pub(crate) question: Question,
    pub(crate) stage: Stage,
}

/// How far the question is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Authorizer,
    Path,
    Group,
    Resource,
    Decision(Decision),
}

impl<'a> Handle<'a> {
    /// The variable `authorizer`.
    pub fn new(authorizer: &'a dyn Authorizer) -> Arc<Self> {
        Arc::new(Self { authorizer, question: Question::default(), stage: Stage::Authorizer })
    }

    /// The variable `authorizer.requestResource`.
    pub fn resource(authorizer: &'a dyn Authorizer, question: Question) -> Arc<Self> {
        Arc::new(Self { authorizer, question, stage: Stage::Resource })
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self.stage {
            Stage::Authorizer => "kubernetes.authorization.Authorizer",
            Stage::Path => "kubernetes.authorization.PathCheck",
            Stage::Group => "kubernetes.authorization.GroupCheck",
            Stage::Resource => "kubernetes.authorization.ResourceCheck",
            Stage::Decision(_) => "kubernetes.authorization.Decision",
        }
    }
}

impl std::fmt::Debug for Handle<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({:?})", self.type_name(), self.question)
    }
}
