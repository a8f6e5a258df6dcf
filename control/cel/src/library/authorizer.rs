//! `authorizer.group('apps').resource('deployments').check('create').allowed()`

use std::sync::Arc;

use super::Answer;
use crate::authorizer::{Handle, Stage};
use crate::value::{Value, failed};

pub(crate) fn call<'a>(function: &str, args: &[Value<'a>]) -> Answer<'a> {
    let (Value::Authorizer(handle), rest) = args.split_first()? else { return None };
    let with = |stage: Stage, change: &dyn Fn(&mut crate::authorizer::Question)| {
        let mut question = handle.question.clone();
        change(&mut question);
        Some(Ok(Value::Authorizer(Arc::new(Handle { authorizer: handle.authorizer, question, stage }))))
    };
    match (&handle.stage, function, rest) {
        (Stage::Authorizer, "path", [Value::String(path)]) => match path.is_empty() {
            true => Some(failed("path must not be empty")),
            false => with(Stage::Path, &|q| q.path = Some(path.to_string())),
        },
        (Stage::Authorizer, "group", [Value::String(group)]) => with(Stage::Group, &|q| q.group = group.to_string()),
        (Stage::Authorizer, "serviceAccount", [Value::String(namespace), Value::String(name)]) => {
            match (namespace.is_empty(), name.is_empty()) {
                (_, true) => Some(failed("Invalid service account name")),
                (true, _) => Some(failed("Invalid service account namespace")),
                _ => with(Stage::Authorizer, &|q| q.service_account = Some((namespace.to_string(), name.to_string()))),
            }
        }
        (Stage::Group, "resource", [Value::String(resource)]) => match resource.is_empty() {
            true => Some(failed("resource must not be empty")),
            false => with(Stage::Resource, &|q| q.resource = resource.to_string()),
        },
        (Stage::Resource, "subresource", [Value::String(s)]) => {
            with(Stage::Resource, &|q| q.subresource = s.to_string())
        }
        (Stage::Resource, "namespace", [Value::String(s)]) => with(Stage::Resource, &|q| q.namespace = s.to_string()),
        (Stage::Resource, "name", [Value::String(s)]) => with(Stage::Resource, &|q| q.name = s.to_string()),
        // RBAC does not look at selectors: whoever may list all may list some.
        (Stage::Resource, "fieldSelector" | "labelSelector", [Value::String(_)]) => with(Stage::Resource, &|_| {}),
        (Stage::Resource | Stage::Path, "check", [Value::String(verb)]) => {
            let mut question = handle.question.clone();
            question.verb = verb.to_string();
            let decision = handle.authorizer.check(&question);
            let stage = Stage::Decision(decision);
            Some(Ok(Value::Authorizer(Arc::new(Handle { authorizer: handle.authorizer, question, stage }))))
        }
        (Stage::Decision(decision), "allowed", []) => Some(Ok(Value::Bool(decision.allowed))),
        (Stage::Decision(decision), "errored", []) => Some(Ok(Value::Bool(!decision.error.is_empty()))),
        (Stage::Decision(decision), "error", []) => Some(Ok(Value::string(decision.error.as_str()))),
        (Stage::Decision(decision), "reason", []) => Some(Ok(Value::string(decision.reason.as_str()))),
        _ => None,
    }
}
