//! RuntimeClass (`pkg/apis/node/validation`).
use crate::field::{Errors, Path};
use crate::kind::{GENERAL, Kind};
use crate::labels::validate_labels;
use crate::meta::immutable_text;
use crate::names::dns1123_label;
use crate::pod::validation::{validate_limits, validate_tolerations};
use crate::resources::canonical_list;
use crate::table::{AGE, Column, NAME, age, name};
use crate::value::{at, items, text};
use serde_json::{Value, json};

pub(super) const KIND: Kind = Kind {
    group: "node.k8s.io",
    kind: "RuntimeClass",
    namespaced: false,
    names_version: true,
    defaults: |_, class| {
        if let Some(fixed) = at(class, &["overhead", "podFixed"]) {
            canonical_list(fixed);
        }
    },
    validate,
    validate_update: |new, old, _, errors| {
        validate(new, errors);
        immutable_text(&new["handler"], &old["handler"], &Path::new("handler"), errors);
    },
    columns: &[NAME, Column::text("Handler", ""), AGE],
    cells: |class, now| vec![name(class), text(&class["handler"]).into(), age(class, now)],
    ..GENERAL
};

fn validate(class: &Value, errors: &mut Errors) {
    let handler = text(&class["handler"]);
    if handler.is_empty() {
        errors.required(&Path::new("handler"), "");
    } else {
        errors.invalid_each(&Path::new("handler"), handler, dns1123_label(handler));
    }
    validate_limits(&class["overhead"]["podFixed"], &Path::new("overhead"), errors);
    let (scheduling, path) = (&class["scheduling"], Path::new("scheduling"));
    validate_labels(&scheduling["nodeSelector"], &path.child("nodeSelector"), errors);
    let list = path.child("tolerations");
    validate_tolerations(&scheduling["tolerations"], &list, errors);
    let mut seen = std::collections::BTreeSet::new();
    for (index, toleration) in items(&scheduling["tolerations"]).iter().enumerate() {
        let [key, operator, value, effect] =
            ["key", "operator", "value", "effect"].map(|member| text(&toleration[member]));
        if !seen.insert((key, operator, value, effect)) {
            let shown = json!({"Key": key, "Operator": operator, "Value": value, "Effect": effect,
                "TolerationSeconds": toleration["tolerationSeconds"]});
            errors.duplicate(&list.index(index), shown);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Subresource, kind};
    use serde_json::{Value, json};

    fn said(members: Value) -> String {
        let mut class = json!({"metadata": {"name": "c"}, "handler": "h"});
        for (key, value) in crate::value::entries(&members) {
            class[key] = value.clone();
        }
        kind("node.k8s.io", "RuntimeClass").validate_create(&class).message()
    }

    // TestValidateRuntimeClass, TestValidateOverhead, TestValidateScheduling
    #[test]
    fn a_class_names_its_handler_and_what_it_costs() {
        assert_eq!(said(json!({"overhead": {"podFixed": {"cpu": "10", "memory": "10G"}}})), "[]");
        assert_eq!(said(json!({"handler": ""})), "handler: Required value");
        assert!(
            said(json!({"handler": "&!@#"}))
                .starts_with("handler: Invalid value: \"&!@#\": a lowercase RFC 1123 label")
        );
        assert!(
            said(json!({"overhead": {"podFixed": {"cpu": "-1"}}})).starts_with("overhead.limits[cpu]: Invalid value")
        );
        let toleration = json!({"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        assert_eq!(
            said(json!({"scheduling": {"tolerations": [toleration, toleration]}})),
            "scheduling.tolerations[1]: Duplicate value: \
             {\"Key\":\"k\",\"Operator\":\"Exists\",\"Value\":\"\",\"Effect\":\"NoExecute\",\"TolerationSeconds\":5}"
        );
        assert!(
            said(json!({"scheduling": {"nodeSelector": {"a": "b c"}}}))
                .starts_with("scheduling.nodeSelector: Invalid value")
        );
    }

    // TestValidateRuntimeUpdate
    #[test]
    fn a_class_keeps_its_handler() {
        let old = json!({"metadata": {"name": "c", "resourceVersion": "1"}, "handler": "old"});
        let mut new = old.clone();
        new["handler"] = "new".into();
        assert_eq!(
            kind("node.k8s.io", "RuntimeClass").validate_update(&new, &old, Subresource::None).message(),
            "handler: Invalid value: \"new\": field is immutable"
        );
    }
}
