//! Questions about users: who is this, may they, what may they.

use std::sync::Arc;

use http::Response;
use orlop_auth::{Attributes, Decision, TokenError, UserInfo};
use serde_json::{Value, json};

use crate::rest::{Call, now};
use crate::status::Status;
use crate::strategy;
use crate::wire::{Accept, Body, Shape};

pub(super) async fn answer(call: &Arc<Call>) -> Result<Response<Body>, Status> {
    let resource = &call.resource;
    if call.accept.shape == Shape::Table {
        return Err(Accept::none());
    }
    let mut review = call.decode(&resource.api_version(), &resource.kind)?;
    if !review["metadata"].is_object() {
        review["metadata"] = json!({});
    }
    if resource.namespaced && review["metadata"]["namespace"].is_null() {
        review["metadata"]["namespace"] = call.info.namespace.clone().into();
    }
    if resource.kind.ends_with("SubjectAccessReview") {
        well_formed(&resource.group, &resource.kind, &review)?;
    }
    if resource.kind.ends_with("AccessReview") || resource.kind == "TokenReview" {
        call.track(&mut review, &Value::Null);
    }
    let spec = &review["spec"];
    let status = match resource.kind.as_str() {
        "SelfSubjectReview" => {
            review["metadata"]["creationTimestamp"] = now().into();
            json!({"userInfo": &*call.user})
        }
        "TokenReview" => token(call, spec).await?,
        "SelfSubjectRulesReview" => rules(call, spec)?,
        "SelfSubjectAccessReview" => access(call, spec, &call.user)?,
        "LocalSubjectAccessReview" if review["metadata"]["namespace"] != call.info.namespace.as_str() => {
            let why = format!("spec.resourceAttributes.namespace must match namespace: {}", call.info.namespace);
            return Err(Status::bad_request(why));
        }
        _ => {
            let user = UserInfo {
                name: spec["user"].as_str().unwrap_or_default().to_owned(),
                uid: spec["uid"].as_str().unwrap_or_default().to_owned(),
                groups: serde_json::from_value(spec["groups"].clone()).unwrap_or_default(),
                extra: serde_json::from_value(spec["extra"].clone()).unwrap_or_default(),
            };
            access(call, spec, &user)?
        }
    };
    if resource.kind == "SelfSubjectRulesReview" {
        review["spec"] = json!({});
    }
    review["status"] = status;
    call.render_value(201, review)
}

/// 422 with everything that is wrong with a question. It is about an object of no kind, as Kubernetes has it.
fn well_formed(group: &str, kind: &str, review: &Value) -> Result<(), Status> {
    let errors = orlop_kinds::access_review::validate(kind, review);
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid_as(group, "", "", strategy::causes(&errors)))
}

async fn token(call: &Call, spec: &Value) -> Result<Value, Status> {
    let token = spec["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<String> = serde_json::from_value(spec["audiences"].clone()).unwrap_or_default();
    Ok(match call.server.user_of_token(token, &audiences).await {
        Some((user, audiences)) => json!({"authenticated": true, "user": user, "audiences": audiences}),
        None => {
            let server = &call.server.config().tokens;
            let why = match server.verify(token, &audiences) {
                Err(TokenError::Audience(own)) => {
                    let wanted = if audiences.is_empty() { server.audiences() } else { &audiences };
                    format!(
                        "[invalid bearer token, token audiences {} is invalid for the target audiences {}]",
                        quoted(&own),
                        quoted(wanted)
                    )
                }
                _ => "invalid bearer token".to_owned(),
            };
            json!({"user": {}, "error": why})
        }
    })
}

/// As Go prints a list of texts with `%q`.
fn quoted(list: &[String]) -> String {
    format!("[{}]", list.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(" "))
}

fn access(call: &Call, spec: &Value, user: &UserInfo) -> Result<Value, Status> {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let text = |of: &'static str| resource[of].as_str().or(path[of].as_str()).unwrap_or_default();
    let decision = call.server.authorizer().decide(&Attributes {
        user: Some(user),
        verb: text("verb"),
        group: text("group"),
        version: text("version"),
        resource: text("resource"),
        subresource: text("subresource"),
        namespace: text("namespace"),
        name: text("name"),
        path: text("path"),
        ..Attributes::default()
    });
    let mut status = match &decision {
        Decision::Allow(_) => json!({"allowed": true}),
        Decision::Deny(_) => json!({"allowed": false, "denied": true}),
        Decision::NoOpinion(_) => json!({"allowed": false}),
    };
    let (Decision::Allow(reason) | Decision::Deny(reason) | Decision::NoOpinion(reason)) = decision;
    if !reason.is_empty() {
        status["reason"] = reason.into();
    }
    match orlop_kinds::access_review::ignored_selectors(spec).as_slice() {
        [] => {}
        [one] => status["evaluationError"] = one.clone().into(),
        many => status["evaluationError"] = format!("[{}]", many.join(", ")).into(),
    }
    Ok(status)
}

fn rules(call: &Call, spec: &Value) -> Result<Value, Status> {
    let namespace = spec["namespace"].as_str().unwrap_or_default();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let mut resource_rules = Vec::new();
    let mut path_rules = Vec::new();
    if call.user.groups.iter().any(|g| g == "system:masters") {
        resource_rules.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        path_rules.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    for rule in call.server.authorizer().rbac(|rbac| rbac.rules_for(&call.user, namespace)) {
        if !rule.resources.is_empty() {
            let mut value = json!({"verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources});
            if !rule.resource_names.is_empty() {
                value["resourceNames"] = json!(rule.resource_names);
            }
            resource_rules.push(value);
        }
        if !rule.non_resource_urls.is_empty() {
            path_rules.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}));
        }
    }
    Ok(json!({"resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": false}))
}
