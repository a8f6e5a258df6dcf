//! What the targets have in common.

use orlop_schema::{GroupVersionKind, Schema, TypeRef};

/// Kinds that between them have every sort of field.
const KINDS: [(&str, &str); 8] = [
    ("v1", "Pod"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("apps/v1", "Deployment"),
    ("v1", "Event"),
    ("networking.k8s.io/v1", "Ingress"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
];

/// The first byte chooses a kind; the rest is the input.
pub fn kind(data: &[u8]) -> Option<(TypeRef<'static>, &[u8])> {
    let (first, rest) = data.split_first()?;
    let (api_version, kind) = KINDS[usize::from(*first) % KINDS.len()];
    let kind = GroupVersionKind::from_api_version(api_version, kind);
    Some((Schema::builtin().type_by_kind(&kind).expect("a built-in kind"), rest))
}
