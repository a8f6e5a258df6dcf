//! `nodes/proxy`, `pods/proxy` and `services/proxy`: a request passed on as it is, without its credentials. Connections that
//! are upgraded (WebSocket, SPDY) are not.

use std::sync::Arc;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::Value;

use super::links;
use super::upstream::Upstream;
use crate::admission;
use crate::rest::Call;
use crate::service_resolver::{endpoint, is_proxyable};
use crate::status::Status;
use crate::wire::{self, Body};

/// Headers that are of one connection only, or nobody else's business.
const DROPPED: &[HeaderName] = &[
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
];

pub(super) async fn answer(call: &Arc<Call>) -> Result<Response<Body>, Status> {
    if call.headers.contains_key(header::UPGRADE) {
        return Err(Status::not_implemented(format!("{}/proxy of an upgraded connection", call.resource.plural)));
    }
    let (base, rest) = split(&call.info.path, call.resource.namespaced);
    let query = call.query.to_text();
    let method = call.info.method.clone();
    admission::connect(call, super::connection::options(call)).await?;
    let upstream = target(call).await?;
    let rest = match rest {
        None if matches!(method, Method::GET | Method::HEAD) => return Ok(redirect(&format!("{base}/"), &query)),
        rest => rest.unwrap_or_default(),
    };
    let path = if query.is_empty() { format!("/{rest}") } else { format!("/{rest}?{query}") };
    let mut request = Request::new(Full::new(call.body.clone()));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(|e| Status::bad_request(format!("{path}: {e}")))?;
    *request.headers_mut() = passed_on(&call.headers);
    let answered = upstream.send(request, call.closing.clone()).await;
    let mut response =
        answered.map_err(|e| Status::unavailable(format!("error trying to reach {}: {e}", upstream.url(&path))))?;
    let location = response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok());
    if let Some(location) = location.filter(|l| l.starts_with('/'))
        && let Ok(location) = HeaderValue::from_str(&format!("{base}{location}"))
    {
        response.headers_mut().insert(header::LOCATION, location);
    }
    for dropped in [header::CONNECTION, header::TRANSFER_ENCODING] {
        response.headers_mut().remove(dropped);
    }
    Ok(links::lead_here(response, base))
}

/// The path up to `proxy`, and what comes after its slash.
fn split(path: &str, namespaced: bool) -> (&str, Option<&str>) {
    // "", api, v1, [namespaces, NAMESPACE,] PLURAL, NAME, proxy
    let slashes = if namespaced { 8 } else { 6 };
    match path.match_indices('/').nth(slashes - 1) {
        Some((at, _)) => (&path[..at], Some(&path[at + 1..])),
        None => (path, None),
    }
}

fn redirect(path: &str, query: &str) -> Response<Body> {
    let location = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let mut response = wire::text(301, "");
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let kept = |name: &HeaderName| {
        !DROPPED.contains(name)
            && !name.as_str().starts_with("impersonate-")
            && !matches!(name.as_str(), "keep-alive" | "proxy-connection")
    };
    headers.iter().filter(|(name, _)| kept(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// `name`, `name:port` or `scheme:name:port`: whether TLS is asked for, the name, and the port or nothing.
fn scheme_name_and_port(call: &Call) -> Result<(bool, String, String), Status> {
    let parts: Vec<&str> = call.info.name.split(':').collect();
    match parts.as_slice() {
        [name] => Ok((false, (*name).to_owned(), String::new())),
        [name, port] | ["http" | "", name, port] => Ok((false, (*name).to_owned(), (*port).to_owned())),
        ["https", name, port] => Ok((true, (*name).to_owned(), (*port).to_owned())),
        _ => Err(Status::bad_request(format!("invalid {} request \"{}\"", call.resource.singular, call.info.name))),
    }
}

async fn target(call: &Call) -> Result<Upstream, Status> {
    let (tls, name, port) = scheme_name_and_port(call)?;
    if call.resource.plural == "nodes" {
        let kubelet = Upstream::kubelet(call, &name)?;
        let own = kubelet.port.to_string();
        return match port {
            port if port.is_empty() || port == own => Ok(kubelet),
            port => Err(Status::not_implemented(format!("nodes/proxy to port {port}"))),
        };
    }
    let registry = call.server.registry();
    let cache = call.cache()?;
    let found = registry.get(&cache, call.namespace(), &name).await?;
    let object = found.ok_or_else(|| Status::not_found(&call.resource, &name))?.value();
    let (host, port) = match call.resource.plural.as_str() {
        "pods" => pod(&object, &port).ok_or_else(|| Status::bad_request("address not allowed"))?,
        _ => {
            let none = || Status::unavailable(format!("no endpoints available for service \"{}\"", call.info.name));
            let port = service_port(&object, &port).ok_or_else(|| {
                Status::unavailable(format!("no service port \"{port}\" found for service \"{name}\""))
            })?;
            endpoint(registry.hub(), call.namespace(), &name, &port).ok_or_else(none)?
        }
    };
    let anyone = || orlop_auth::to_anyone().map_err(|error| Status::internal(error.to_string()));
    Ok(Upstream { host, port, tls: tls.then(anyone).transpose()?, name: None })
}

/// A pod's address, and the port asked for or the first that it declares.
fn pod(pod: &Value, port: &str) -> Option<(String, u16)> {
    let declared = || {
        let containers = pod["spec"]["containers"].as_array()?;
        containers.iter().find_map(|c| c["ports"][0]["containerPort"].as_u64())?.try_into().ok()
    };
    let port = if port.is_empty() { declared().unwrap_or(80) } else { port.parse().ok()? };
    let ip = pod["status"]["podIP"].as_str().filter(|ip| is_proxyable(ip))?;
    Some((ip.to_owned(), port))
}

/// The name of a Service's port, asked for by name or number; without asking, its only one.
fn service_port(service: &Value, asked: &str) -> Option<String> {
    let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |port: &Value| port["name"].as_str().unwrap_or_default().to_owned();
    match ports {
        [one] if asked.is_empty() => Some(name(one)),
        ports => ports
            .iter()
            .find(|p| name(p) == asked || p["port"].as_u64().is_some_and(|n| n.to_string() == asked))
            .map(name),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_path_is_cut_behind_proxy() {
        assert_eq!(split("/api/v1/nodes/n/proxy", false), ("/api/v1/nodes/n/proxy", None));
        assert_eq!(split("/api/v1/nodes/n/proxy/", false), ("/api/v1/nodes/n/proxy", Some("")));
        let path = "/api/v1/namespaces/a/pods/p:80/proxy/x/proxy/";
        assert_eq!(split(path, true), ("/api/v1/namespaces/a/pods/p:80/proxy", Some("x/proxy/")));
    }

    #[test]
    fn a_pod_is_reached_at_its_declared_port_and_never_at_the_machine_s_own_address() {
        let at = |ip: &str| json!({"spec": {"containers": [{}, {"ports": [{"containerPort": 8080}]}]}, "status": {"podIP": ip}});
        assert_eq!(pod(&at("10.244.0.5"), ""), Some(("10.244.0.5".into(), 8080)));
        assert_eq!(pod(&at("10.244.0.5"), "81"), Some(("10.244.0.5".into(), 81)));
        for own in ["127.0.0.1", "169.254.169.254", "::1", "0.0.0.0", ""] {
            assert_eq!(pod(&at(own), ""), None, "{own}");
        }
    }

    #[test]
    fn a_service_port_is_asked_for_by_name_or_number() {
        let two = json!({"spec": {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}});
        assert_eq!(service_port(&two, "81").as_deref(), Some("b"));
        assert_eq!(service_port(&two, "a").as_deref(), Some("a"));
        assert_eq!(service_port(&two, ""), None);
        assert_eq!(service_port(&json!({"spec": {"ports": [{"port": 80}]}}), "").as_deref(), Some(""));
    }

    #[test]
    fn credentials_stay_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("authorization", "Bearer x"), ("impersonate-user", "x"), ("accept", "text/html")] {
            headers.insert(name, value.parse().unwrap());
        }
        let kept = passed_on(&headers);
        assert_eq!(kept.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }
}
