//! Taints and tolerations.

use k8s_openapi::api::core::v1::{Taint, Toleration};

/// Whether a toleration tolerates a taint.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let agrees = |field: &Option<String>, text: &str| field.as_deref().is_none_or(|f| f.is_empty() || f == text);
    agrees(&toleration.effect, &taint.effect)
        && agrees(&toleration.key, &taint.key)
        && match toleration.operator.as_deref().unwrap_or_default() {
            "" | "Equal" => {
                toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
            }
            "Exists" => true,
            _ => false,
        }
}

/// Whether one of them does.
pub fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| tolerates(toleration, taint))
}

/// The first taint that keeps a pod away (`NoSchedule` or `NoExecute`).
pub fn untolerated<'a>(tolerations: &[Toleration], taints: &'a [Taint]) -> Option<&'a Taint> {
    let mut hard = taints.iter().filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"));
    hard.find(|taint| !tolerated(tolerations, taint))
}

/// How many taints a pod would rather not have (`PreferNoSchedule`).
pub fn disliked(tolerations: &[Toleration], taints: &[Taint]) -> usize {
    taints.iter().filter(|taint| taint.effect == "PreferNoSchedule" && !tolerated(tolerations, taint)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
        let some = |text: &str| Some(text.to_owned());
        Toleration {
            key: some(key),
            operator: some(operator),
            value: some(value),
            effect: some(effect),
            ..Default::default()
        }
    }

    #[test]
    fn a_toleration_agrees_in_all_that_it_names() {
        let taint = Taint { key: "k".into(), value: Some("v".into()), effect: "NoSchedule".into(), time_added: None };
        assert!(tolerates(&toleration("k", "Equal", "v", "NoSchedule"), &taint));
        assert!(tolerates(&toleration("k", "", "v", ""), &taint));
        assert!(tolerates(&toleration("", "Exists", "", ""), &taint));
        assert!(!tolerates(&toleration("k", "Equal", "w", "NoSchedule"), &taint));
        assert!(!tolerates(&toleration("k", "Exists", "", "NoExecute"), &taint));
    }
}
