//! Whether aggregated servers answer: the condition Available of their APIServices, with kube-aggregator's reasons, and what they
//! say they serve.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, header};
use http_body_util::Full;
use orlop_auth::UserInfo;
use serde_json::{Value, json};

use super::discovery::{Discovered, OldDocument};
use super::pass_on::{Unreachable, identify, upstream};
use super::{Route, STORAGE};
use crate::rest::now;
use crate::server::ApiServer;
use crate::service_resolver;
use crate::status::Status;
use crate::wire;

/// An aggregated server that takes longer does not answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// An aggregated server is asked so often before it counts as unavailable, as kube-aggregator does.
const ATTEMPTS: usize = 5;
/// How long what an aggregated server said in OpenAPI v2 is believed.
const OPEN_API_PERIOD: Duration = Duration::from_secs(60);

/// Looks at all of them; whether all answered.
pub(super) async fn look(server: &Arc<ApiServer>) -> bool {
    let routes = server.aggregator().routes(server);
    server.aggregator().forget(&routes);
    let looks: Vec<BoxFuture<'static, bool>> =
        routes.values().map(|route| look_at(server.clone(), route.clone()).boxed()).collect();
    futures::future::join_all(looks).await.into_iter().all(|answers| answers)
}

/// Looks at one of them; whether it answers.
async fn look_at(server: Arc<ApiServer>, route: Arc<Route>) -> bool {
    let found = check(&server, &route).await;
    let answers = found.is_ok();
    let (status, reason, message) = match found {
        Ok(()) => ("True", "Passed", "all checks passed".to_owned()),
        Err((reason, message)) => ("False", reason, message),
    };
    if let Err(error) = tell(&server, &route.name, status, reason, &message).await {
        tracing::debug!(name = route.name, %error, "the condition of an APIService is not written");
    }
    answers
}

async fn check(server: &Arc<ApiServer>, route: &Route) -> Result<(), (&'static str, String)> {
    let (namespace, name, port) = (&route.namespace, &route.service, route.port);
    let hub = server.registry().hub();
    let service = hub.cache_at("services/specs").and_then(|cache| cache.get(&format!("{namespace}/{name}")));
    let Some(service) = service else {
        return Err(("ServiceNotFound", format!("service/{name} in \"{namespace}\" is not present")));
    };
    let service = service.value();
    if service["spec"]["type"] == "ClusterIP" {
        let ports = service["spec"]["ports"].as_array().into_iter().flatten();
        let found = ports.clone().find(|p| p["port"].as_u64() == Some(u64::from(port)));
        let Some(found) = found else {
            let why = format!("service/{name} in \"{namespace}\" is not listening on port {port}");
            return Err(("ServicePortError", why));
        };
        let port_name = found["name"].as_str().unwrap_or_default();
        let slices = hub.cache_at("endpointslices").map(|cache| cache.of_namespace(namespace)).unwrap_or_default();
        if !slices.iter().any(|slice| slice.label("kubernetes.io/service-name") == Some(name)) {
            let why = format!("cannot find endpointslices for service/{name} in \"{namespace}\"");
            return Err(("EndpointsNotFound", why));
        }
        if service_resolver::endpoint(hub, namespace, name, port_name).is_none() {
            let why = format!(
                "endpointslices for service/{name} in \"{namespace}\" have no addresses with port name \"{port_name}\""
            );
            return Err(("MissingEndpoints", why));
        }
    }
    let path = format!("/apis/{}/{}", route.group, route.version);
    // One endpoint of several that does not answer is no reason to say that none does: each attempt may ask another.
    let mut answer = ask(server, route, &path).await;
    for _ in 1..ATTEMPTS {
        if answer.is_ok() {
            break;
        }
        answer = ask(server, route, &path).await;
    }
    let resources = answer.map_err(|why| ("FailedDiscoveryCheck", why))?;
    // Not every server has OpenAPI: its absence is no failure.
    let open_api = ask(server, route, "/openapi/v3").await.unwrap_or_default();
    let open_api_v2 = open_api_v2(server, route).await;
    server.aggregator().learned(route, Discovered { resources, open_api, open_api_v2 });
    Ok(())
}

/// What the server says in OpenAPI v2 of its group and version: asked for again once a minute; if that fails, what it said before.
async fn open_api_v2(server: &Arc<ApiServer>, route: &Route) -> Arc<OldDocument> {
    let before = server.aggregator().known(route).map(|known| known.open_api_v2.clone());
    let before = match before {
        Some(known) if known.asked.elapsed() < OPEN_API_PERIOD => return known,
        before => before,
    };
    let asked = Instant::now();
    let part = match ask(server, route, "/openapi/v2").await {
        Ok(document) if document.is_object() => {
            Arc::new(orlop_schema::openapi::v2::part(document, &route.group, &route.version))
        }
        said => {
            let why = said.err().unwrap_or_else(|| "no JSON object".into());
            tracing::debug!(group = route.group, version = route.version, why, "no OpenAPI v2 of an aggregated server");
            before.as_ref().map(|before| before.part.clone()).unwrap_or_default()
        }
    };
    let hash = match before {
        Some(before) if before.part == part => before.hash.clone(),
        _ => orlop_schema::openapi::v3::converted(&part).1,
    };
    Arc::new(OldDocument { part, hash, asked })
}

/// Asks an aggregated server, as the aggregator itself.
async fn ask(server: &Arc<ApiServer>, route: &Route, path: &str) -> Result<Value, String> {
    let upstream = match upstream(server, route) {
        Ok(upstream) => upstream,
        Err(Unreachable::Service) => return Err(format!("no endpoints available for service \"{}\"", route.service)),
        Err(Unreachable::Tls(why)) => return Err(why),
    };
    let url = upstream.url(path);
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = path.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    let accept = http::HeaderValue::from_static("application/json");
    request.headers_mut().insert(header::ACCEPT, accept);
    identify(request.headers_mut(), &UserInfo::new("system:kube-aggregator", ["system:masters"]));
    let exchange = async {
        let answered = upstream.send(request, server.stop_token()).await;
        let response =
            answered.map_err(|error| format!("failing or missing response from {url}: Get \"{url}\": {error}"))?;
        if !response.status().is_success() {
            let code = response.status().as_u16();
            return Err(format!("failing or missing response from {url}: bad status from {url}: {code}"));
        }
        let bytes = wire::read(response.into_body()).await.map_err(|status| status.message)?;
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    };
    match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(result) => result,
        Err(_) => Err(format!("timed out waiting for {url}")),
    }
}

/// Writes the condition, if it is another than before.
async fn tell(server: &ApiServer, name: &str, status: &str, reason: &str, message: &str) -> Result<(), Status> {
    let registry = server.registry();
    let Some(cache) = registry.hub().cache_at(STORAGE) else { return Ok(()) };
    let is_told = |condition: &Value| {
        condition["type"] == "Available"
            && condition["status"] == status
            && condition["reason"] == reason
            && condition["message"] == message
    };
    let told = |object: &Value| object["status"]["conditions"].as_array().is_some_and(|c| c.iter().any(is_told));
    if registry.get(&cache, "", name).await?.is_none_or(|object| told(&object.value())) {
        return Ok(());
    }
    let mut next = |object: &mut Value| {
        let old = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let before = old.iter().find(|c| c["type"] == "Available").cloned().unwrap_or_default();
        let since = if before["status"] == status { before["lastTransitionTime"].clone() } else { now().into() };
        let condition = json!({
            "type": "Available", "status": status, "lastTransitionTime": since, "reason": reason, "message": message,
        });
        let others = old.into_iter().filter(|c| c["type"] != "Available");
        object["status"]["conditions"] = others.chain([condition]).collect();
        Ok(())
    };
    registry.modify(&cache, "", name, &mut next).await.map(drop)
}
