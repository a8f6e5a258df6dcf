//! Taints and tolerations.

use k8s_openapi::api::core::v1::{PodSpec, Taint, Toleration};

/// Whether a pod tolerates a taint.
pub(crate) fn tolerates(spec: Option<&PodSpec>, taint: &Taint) -> bool {
    let tolerations = spec.and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    tolerations.iter().any(|toleration| matches(toleration, taint))
}

/// The first taint that keeps a pod away.
pub(crate) fn untolerated<'a>(spec: Option<&PodSpec>, taints: &'a [Taint]) -> Option<&'a Taint> {
    let hard = taints.iter().filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"));
    hard.into_iter().find(|taint| !tolerates(spec, taint))
}

/// How many taints a pod would rather not have.
pub(crate) fn disliked(spec: Option<&PodSpec>, taints: &[Taint]) -> usize {
    taints.iter().filter(|taint| taint.effect == "PreferNoSchedule" && !tolerates(spec, taint)).count()
}

fn matches(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |field: &Option<String>| field.as_deref().filter(|text| !text.is_empty()).map(str::to_owned);
    if given(&toleration.effect).is_some_and(|effect| effect != taint.effect)
        || given(&toleration.key).is_some_and(|key| key != taint.key)
    {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default(),
        "Exists" => true,
        _ => false,
    }
}
