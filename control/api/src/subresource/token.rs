//! `serviceaccounts/token`: a token for an account, bound to a pod or a secret if asked for (TokenRequest).

use std::sync::Arc;

use http::Response;
use jiff::Timestamp;
use orlop_auth::{BoundObject, TokenRequest, node_name};
use serde_json::{Value, json};

use crate::admission;
use crate::object::meta;
use crate::rest::{Call, now};
use crate::status::{Cause, Status};
use crate::wire::Body;

const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;

pub(super) async fn answer(call: &Arc<Call>) -> Result<Response<Body>, Status> {
    let mut request = call.decode("authentication.k8s.io/v1", "TokenRequest")?;
    let account = call.find().await?.value();
    admission::create_other(call, &mut request).await?;
    let own = meta(&account, "name");
    let said = meta(&request, "name");
    if !said.is_empty() && said != own {
        let cause = Cause::invalid("metadata.name", &said.into(), "must match the service account name if specified");
        return Err(Status::invalid_as("authentication.k8s.io", "TokenRequest", own, vec![cause]));
    }
    let spec = &request["spec"];
    let seconds = spec["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
    let refuse = |why: &str| {
        let cause = Cause::invalid("spec.expirationSeconds", &seconds.into(), why);
        Err(Status::invalid_as("authentication.k8s.io", "TokenRequest", "", vec![cause]))
    };
    if seconds < MIN_SECONDS {
        return refuse("may not specify a duration less than 10 minutes");
    }
    if seconds > MAX_SECONDS {
        return refuse("may not specify a duration larger than 2^32 seconds");
    }
    request["spec"]["expirationSeconds"] = seconds.into();
    call.track(&mut request, &Value::Null);
    let managers = request["metadata"]["managedFields"].take();
    let spec = &request["spec"];
    let (pod, secret, node) = bound(call, &spec["boundObjectRef"], meta(&account, "name")).await?;
    let issued = Timestamp::now();
    let token = call
        .server
        .config()
        .tokens
        .sign(TokenRequest {
            namespace: call.namespace().to_owned(),
            service_account: object(&account),
            pod,
            secret,
            node,
            audiences: spec["audiences"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|a| a.as_str().map(Into::into))
                .collect(),
            seconds,
            now: issued.as_second(),
            id: uuid::Uuid::new_v4().to_string(),
        })
        .map_err(Status::internal)?;
    let expires = Timestamp::from_second(issued.as_second() + seconds).unwrap_or(issued);
    request["metadata"] = json!({"name": own, "namespace": call.namespace(), "uid": uuid::Uuid::new_v4().to_string(), "creationTimestamp": now()});
    request["metadata"]["managedFields"] = managers;
    if request["spec"]["audiences"].as_array().is_none_or(Vec::is_empty) {
        request["spec"]["audiences"] = json!(call.server.config().tokens.audiences());
    }
    if request["spec"]["boundObjectRef"].is_null() {
        request["spec"]["boundObjectRef"] = Value::Null;
    }
    request["status"] =
        json!({"token": token, "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()});
    call.render_value(201, request)
}

fn object(value: &Value) -> BoundObject {
    BoundObject { name: meta(value, "name").to_owned(), uid: meta(value, "uid").to_owned() }
}

type Bound = (Option<BoundObject>, Option<BoundObject>, Option<BoundObject>);

/// The pod (with its node) or secret that the token is to die with.
async fn bound(call: &Call, reference: &Value, account: &str) -> Result<Bound, Status> {
    let own_node = node_name(&call.user);
    if reference.is_null() {
        return match own_node {
            Some(node) => Err(Status::forbidden(
                "",
                "serviceaccounts",
                account,
                format!("node \"{node}\" requested token not bound to a pod"),
            )),
            None => Ok((None, None, None)),
        };
    }
    let registry = call.server.registry();
    let find = async |storage: &str, plural: &str, name: &str| {
        let cache = registry.hub().cache_at(storage).ok_or_else(Status::no_such_path)?;
        let namespace = call.namespace();
        let found =
            registry.get(&cache, namespace, name).await?.ok_or_else(|| Status::not_found_as("", plural, name))?.value();
        Ok::<_, Status>(found)
    };
    let name = reference["name"].as_str().unwrap_or_default();
    let kind = reference["kind"].as_str().unwrap_or_default();
    let check_uid = |found: &Value| match reference["uid"].as_str() {
        Some(uid) if !uid.is_empty() && uid != meta(found, "uid") => {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            );
            Err(Status::conflict(&call.resource, account, why))
        }
        _ => Ok(()),
    };
    match kind {
        "Pod" => {
            let pod = find("pods", "pods", name).await?;
            check_uid(&pod)?;
            if pod["spec"]["serviceAccountName"] != account {
                let why = format!(
                    "cannot bind token for serviceaccount \"{account}\" to pod running with different serviceaccount name."
                );
                return Err(Status::bad_request(why));
            }
            let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
            if let Some(own) = own_node.filter(|own| *own != node) {
                let why = format!("node \"{own}\" requested token bound to a pod scheduled on a different node");
                return Err(Status::forbidden("", "serviceaccounts", account, why));
            }
            let cache = registry.hub().cache_at("minions");
            let node = cache.and_then(|c| c.get(node)).map(|n| object(&n.value()));
            Ok((Some(object(&pod)), None, node))
        }
        "Secret" if own_node.is_none() => {
            let secret = find("secrets", "secrets", name).await?;
            check_uid(&secret)?;
            Ok((None, Some(object(&secret)), None))
        }
        other => {
            let version = reference["apiVersion"].as_str().unwrap_or_default();
            let slash = if version.contains('/') { "" } else { "/" };
            Err(Status::bad_request(format!("cannot bind token to object of type {slash}{version}, Kind={other}")))
        }
    }
}
