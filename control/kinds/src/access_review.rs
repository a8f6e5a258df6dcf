//! What the questions of authorization.k8s.io must satisfy (`pkg/apis/authorization/validation`). They are asked and answered, never
//! stored, so that they are no kinds of the table.
use crate::field::{Errors, Path};
use crate::labels::validate_requirement;
use crate::value::{entries, items, text};
use serde_json::{Value, json};

/// Checks a SubjectAccessReview, a SelfSubjectAccessReview (which names no user) or a LocalSubjectAccessReview (which is about its
/// own namespace).
pub fn validate(kind: &str, review: &Value) -> Errors {
    let mut errors = Errors::default();
    let (spec, path) = (&review["spec"], Path::new("spec"));
    let (resource, url) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let shown = || json!({"Path": text(&url["path"]), "Verb": text(&url["verb"])});
    match (resource.is_object(), url.is_object()) {
        (true, true) => {
            let detail = "cannot be specified in combination with resourceAttributes";
            errors.invalid(&path.child("nonResourceAttributes"), shown(), detail);
        }
        (false, false) => {
            let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.invalid(&path.child("resourceAttributes"), Value::Null, detail);
        }
        _ => {}
    }
    if kind != "SelfSubjectAccessReview" && text(&spec["user"]).is_empty() && items(&spec["groups"]).is_empty() {
        errors.invalid(&path.child("user"), "", "at least one of user or group must be specified");
    }
    selectors(resource, &path.child("resourceAttributes"), &mut errors);
    let local = kind == "LocalSubjectAccessReview";
    let kept = |(key, _): &(&str, &Value)| *key != "managedFields" && !(local && *key == "namespace");
    if entries(&review["metadata"]).any(|entry| kept(&entry)) {
        let detail = if local { "must be empty except for namespace" } else { "must be empty" };
        errors.invalid(&Path::new("metadata"), review["metadata"].clone(), detail);
    }
    if local {
        let namespace = text(&resource["namespace"]);
        if resource.is_object() && namespace != text(&review["metadata"]["namespace"]) {
            errors.invalid(&path.child("resourceAttributes.namespace"), namespace, "must match metadata.namespace");
        }
        if url.is_object() {
            errors.invalid(&path.child("nonResourceAttributes"), shown(), "disallowed on this kind of request");
        }
    }
    errors
}

fn selectors(resource: &Value, path: &Path<'_>, errors: &mut Errors) {
    for member in ["fieldSelector", "labelSelector"] {
        let (selector, path) = (&resource[member], path.child(member));
        if !selector.is_object() {
            continue;
        }
        let (raw, requirements) = (text(&selector["rawSelector"]), items(&selector["requirements"]));
        let list = path.child("requirements");
        if !raw.is_empty() && !requirements.is_empty() {
            let detail = "may not specified at the same time as requirements";
            errors.invalid(&path.child("rawSelector"), raw, detail);
        }
        if raw.is_empty() && requirements.is_empty() {
            let detail = format!("when {path} is specified, requirements or rawSelector is required");
            errors.required(&list, detail);
        }
        for (index, requirement) in requirements.iter().enumerate() {
            let path = list.index(index);
            if member == "labelSelector" {
                validate_requirement(requirement, true, &path, errors);
                continue;
            }
            if text(&requirement["key"]).is_empty() {
                errors.required(&path.child("key"), "must be specified");
            }
            let (values, path) = (items(&requirement["values"]), path.child("values"));
            match text(&requirement["operator"]) {
                "In" | "NotIn" if values.is_empty() => {
                    errors.required(&path, "must be specified when `operator` is 'In' or 'NotIn'");
                }
                "Exists" | "DoesNotExist" if !values.is_empty() => {
                    errors.forbidden(&path, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
                }
                _ => {}
            }
        }
    }
}

/// What the answer says of a selector that cannot be understood: the question is answered as if it were not there.
pub fn ignored_selectors(spec: &Value) -> Vec<String> {
    let resource = &spec["resourceAttributes"];
    let known = ["In", "NotIn", "Exists", "DoesNotExist"];
    let odd = |selector: &Value| {
        items(&selector["requirements"]).iter().any(|requirement| !known.contains(&text(&requirement["operator"])))
    };
    let of = |member: &str| format!("spec.resourceAttributes.{member} ignored due to parse error");
    ["fieldSelector", "labelSelector"].into_iter().filter(|member| odd(&resource[*member])).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // TestValidateSARSpec, TestValidateSelfSAR, TestValidateLocalSAR
    #[test]
    fn a_question_is_about_one_thing_and_somebody() {
        for (kind, review, message) in [
            ("SubjectAccessReview", json!({"spec": {"user": "u", "resourceAttributes": {}}}), "[]"),
            ("SubjectAccessReview", json!({"spec": {"groups": ["g"], "nonResourceAttributes": {}}}), "[]"),
            ("SelfSubjectAccessReview", json!({"spec": {"resourceAttributes": {}}}), "[]"),
            (
                "SubjectAccessReview",
                json!({"spec": {}}),
                "[spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified, \
                 spec.user: Invalid value: \"\": at least one of user or group must be specified]",
            ),
            (
                "SelfSubjectAccessReview",
                json!({"metadata": {"name": "x"}, "spec": {"resourceAttributes": {}, "nonResourceAttributes": {"path": "/"}}}),
                "[spec.nonResourceAttributes: Invalid value: {\"Path\":\"/\",\"Verb\":\"\"}: cannot be specified in combination with resourceAttributes, \
                 metadata: Invalid value: {\"name\":\"x\"}: must be empty]",
            ),
            (
                "LocalSubjectAccessReview",
                json!({"metadata": {"namespace": "a"}, "spec": {"user": "u", "resourceAttributes": {"namespace": "b"}}}),
                "spec.resourceAttributes.namespace: Invalid value: \"b\": must match metadata.namespace",
            ),
            (
                "SubjectAccessReview",
                json!({"spec": {"user": "u", "resourceAttributes": {"fieldSelector": {}, "labelSelector": {"rawSelector": "a", "requirements": [{"key": "k", "operator": "In"}]}}}}),
                "[spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required, \
                 spec.resourceAttributes.labelSelector.rawSelector: Invalid value: \"a\": may not specified at the same time as requirements, \
                 spec.resourceAttributes.labelSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn']",
            ),
        ] {
            assert_eq!(validate(kind, &review).message(), message);
        }
        let spec =
            json!({"resourceAttributes": {"fieldSelector": {"requirements": [{"key": "a", "operator": "Near"}]}}});
        assert_eq!(ignored_selectors(&spec), ["spec.resourceAttributes.fieldSelector ignored due to parse error"]);
    }
}
