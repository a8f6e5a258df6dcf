//! Cases of TestValidateValidatingAdmissionPolicy, TestValidateValidatingAdmissionPolicyBinding and
//! TestValidateMutatingAdmissionPolicy (`pkg/apis/admissionregistration/validation/validation_test.go`).
use crate::kind;
use serde_json::{Value, json};

fn constraints() -> Value {
    json!({"resourceRules": [{"operations": ["CREATE"], "apiGroups": ["a"], "apiVersions": ["a"], "resources": ["*"]}]})
}

fn told(kind_name: &str, spec: Value) -> String {
    let rules = kind("admissionregistration.k8s.io", kind_name);
    let mut object = json!({"metadata": {"name": "config"}, "spec": spec});
    rules.default("v1", &mut object);
    rules.validate_create(&object).message()
}

/// A policy in which nothing is wrong, with other fields.
fn policy(change: Value) -> String {
    let mut spec = json!({"matchConstraints": constraints(), "validations": [{"expression": "object.x < 100"}]});
    for (field, value) in change.as_object().into_iter().flatten() {
        spec[field.as_str()] = value.clone();
    }
    told("ValidatingAdmissionPolicy", spec)
}

fn mutating(mutation: Value) -> String {
    let spec = json!({"matchConstraints": constraints(), "reinvocationPolicy": "Never", "mutations": [mutation]});
    told("MutatingAdmissionPolicy", spec)
}

#[test]
fn validate_validating_admission_policy() {
    for (change, wanted) in [
        (json!({}), "[]"),
        (
            json!({"failurePolicy": "other"}),
            r#"spec.failurePolicy: Unsupported value: "other": supported values: "Fail", "Ignore""#,
        ),
        (
            json!({"validations": [{"expression": " "}]}),
            "spec.validations[0].expression: Required value: expression is not specified",
        ),
        (
            json!({"validations": []}),
            "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
        ),
        (
            json!({"validations": [{"expression": "true", "reason": "other"}]}),
            r#"spec.validations[0].reason: Unsupported value: "other""#,
        ),
        (
            json!({"validations": [{"expression": "object.x in [1, 2, "}]}),
            r#"spec.validations[0].expression: Invalid value: "object.x in [1, 2, ": compilation failed: ERROR: <input>:1:20: Syntax error: missing ']' at '<EOF>"#,
        ),
        (
            json!({"validations": [{"expression": "true", "messageExpression": "object.x in [1, 2, "}]}),
            r#"spec.validations[0].messageExpression: Invalid value: "object.x in [1, 2, ": compilation failed: ERROR: <input>:1:20: Syntax error: missing ']' at '<EOF>"#,
        ),
        (
            json!({"validations": [{"expression": "true", "messageExpression": "0 == 0"}]}),
            r#"spec.validations[0].messageExpression: Invalid value: "0 == 0": must evaluate to string but got bool"#,
        ),
        (
            json!({"auditAnnotations": [{"key": "@", "valueExpression": "value"}]}),
            r#"spec.auditAnnotations[0].key: Invalid value: "config/@": name part must consist of alphanumeric characters"#,
        ),
        (
            json!({"auditAnnotations": [{"key": "a", "valueExpression": "'1'"}, {"key": "a", "valueExpression": "'2'"}]}),
            r#"spec.auditAnnotations[1].key: Duplicate value: "a""#,
        ),
        (
            json!({"auditAnnotations": [{"key": "a", "valueExpression": "true"}]}),
            r#"spec.auditAnnotations[0].valueExpression: Invalid value: "true": must evaluate to one of [string null_type] but got bool"#,
        ),
        (
            json!({"auditAnnotations": [{"key": "a", "valueExpression": "object.x in [1, 2, "}]}),
            r#"spec.auditAnnotations[0].valueExpression: Invalid value: "object.x in [1, 2, ": compilation failed: ERROR: <input>:1:19: Syntax error: missing ']' at '<EOF>"#,
        ),
        (
            json!({"matchConditions": [{"name": "", "expression": "true"}]}),
            "spec.matchConditions[0].name: Required value",
        ),
        (
            json!({"matchConditions": [{"name": "a", "expression": "params.foo == \"okay\""}]}),
            "undeclared reference to 'params'",
        ),
        (
            json!({"paramKind": {"apiVersion": "v1", "kind": "Foo"}, "matchConditions": [{"name": "a", "expression": "params.foo == \"okay\""}]}),
            "[]",
        ),
        (
            json!({"variables": [{"name": "", "expression": "true"}]}),
            "spec.variables[0].name: Required value: name is not specified",
        ),
        (
            json!({"variables": [{"name": "4ever", "expression": "true"}]}),
            r#"spec.variables[0].name: Invalid value: "4ever": must be a valid CEL identifier"#,
        ),
        (
            json!({"variables": [{"name": "foo", "expression": "114 + '514'"}]}),
            r#"spec.variables[0].expression: Invalid value: "114 + '514'": compilation failed: ERROR: <input>:1:5: found no matching overload for '_+_' applied to '(int, string)"#,
        ),
        (
            json!({"variables": [{"name": "foo", "expression": "1 + 1"}, {"name": "bar", "expression": "variables.foo + 1"}],
                "validations": [{"expression": "variables.foo > 1"}, {"expression": "variables.replicas == 2"}]}),
            r#"spec.validations[1].expression: Invalid value: "variables.replicas == 2": compilation failed: ERROR: <input>:1:10: undefined field 'replicas'"#,
        ),
        (
            json!({"variables": [{"name": "a", "expression": "object"}, {"name": "b", "expression": "variables.foo + 1"}, {"name": "foo", "expression": "1 + 1"}]}),
            r#"spec.variables[1].expression: Invalid value: "variables.foo + 1": compilation failed: ERROR: <input>:1:10: undefined field 'foo'"#,
        ),
        (
            json!({"paramKind": {"apiVersion": "a/b/c", "kind": "Foo"}}),
            r#"spec.paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c"#,
        ),
    ] {
        let found = policy(change.clone());
        assert!(found.contains(wanted), "{change}\n{found}");
    }
}

#[test]
fn validate_validating_admission_policy_binding() {
    for (spec, wanted) in [
        (json!({"policyName": "p.example.com", "validationActions": ["Deny"]}), "[]"),
        (json!({"validationActions": ["Deny"]}), "spec.policyName: Required value"),
        (
            json!({"policyName": "p"}),
            "spec.validationActions: Required value: at least one validation action is required",
        ),
        (
            json!({"policyName": "p", "validationActions": ["Warn", "Deny"]}),
            r#"spec.validationActions: Invalid value: ["Warn","Deny"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"#,
        ),
        (
            json!({"policyName": "p", "validationActions": ["Audit", "Audit"]}),
            r#"spec.validationActions[1]: Duplicate value: "Audit""#,
        ),
        (
            json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": {"parameterNotFoundAction": "Deny"}}),
            "spec.paramRef: Required value: one of name or selector must be specified",
        ),
        (
            json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": {"name": "a", "selector": {}, "parameterNotFoundAction": "Deny"}}),
            "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
        ),
        (
            json!({"policyName": "p", "validationActions": ["Deny"], "paramRef": {"name": "a"}}),
            "spec.paramRef.parameterNotFoundAction: Required value",
        ),
    ] {
        let found = told("ValidatingAdmissionPolicyBinding", spec.clone());
        assert!(found.contains(wanted), "{spec}\n{found}");
    }
}

#[test]
fn validate_mutating_admission_policy() {
    let apply =
        |expression: &str| json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}});
    for (mutation, wanted) in [
        (apply("Object{spec: Object.spec{replicas: 1}}"), "[]"),
        (
            json!({"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: \"add\", path: \"/a\", value: {\"b\": 1}}]"}}),
            "[]",
        ),
        (json!({}), "spec.mutations[0].patchType: Required value"),
        (
            json!({"patchType": "JSONPatch"}),
            "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
        ),
        (
            apply("object"),
            r#"spec.mutations[0].applyConfiguration.expression: Invalid value: "object": must evaluate to Object but got dyn"#,
        ),
        (apply("Object{"), "compilation failed: ERROR: <input>:1:8: Syntax error: missing '}' at '<EOF>'"),
        (
            json!({"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{nope: 1}]"}}),
            "undefined field 'nope'",
        ),
    ] {
        let found = mutating(mutation.clone());
        assert!(found.contains(wanted), "{mutation}\n{found}");
    }
}
