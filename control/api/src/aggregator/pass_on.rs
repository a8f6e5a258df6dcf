//! One request on its way to an aggregated server, with who asks in its headers (`X-Remote-User` and its kin), and the answer on
//! its way back. Watches stream, and what is upgraded becomes bytes both ways.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use orlop_auth::UserInfo;

use super::Route;
use crate::audit::Trail;
use crate::serve::Closing;
use crate::server::ApiServer;
use crate::service_resolver;
use crate::status::Status;
use crate::subresource::upstream::Upstream;
use crate::wire::{self, Body};

/// Headers that are of one connection only, or nobody else's business.
const DROPPED: &[HeaderName] = &[
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
];

/// Passes a request on.
pub async fn pass_on(
    server: &Arc<ApiServer>,
    route: &Route,
    user: &UserInfo,
    mut parts: http::request::Parts,
    body: Body,
    trail: &Trail,
) -> Result<Response<Body>, Status> {
    trail.passed_on();
    if !route.available {
        return Ok(wire::text(503, "service unavailable\n"));
    }
    let upgraded = parts.extensions.remove::<OnUpgrade>().filter(|_| parts.headers.contains_key(header::UPGRADE));
    let closing = parts.extensions.get().map_or_else(|| server.stop_token(), |Closing(token)| token.clone());
    let read_only = matches!(parts.method, Method::GET | Method::HEAD);
    let bytes = if read_only { Bytes::new() } else { wire::read(body).await? };
    let upstream = match upstream(server, route) {
        Ok(upstream) => upstream,
        Err(Unreachable::Service) => return Ok(wire::text(503, "service unavailable\n")),
        Err(Unreachable::Tls(why)) => return Ok(wire::text(500, format!("{why}\n"))),
    };
    let mut request = Request::new(Full::new(bytes));
    *request.method_mut() = parts.method.clone();
    let path = parts.uri.path_and_query().map_or_else(|| parts.uri.path().to_owned(), ToString::to_string);
    *request.uri_mut() = path.parse().map_err(|error| Status::bad_request(format!("{path}: {error}")))?;
    *request.headers_mut() = headers(&parts.headers, user, upgraded.is_some());
    let mut response = match upstream.send(request, closing.clone()).await {
        Ok(response) => response,
        Err(error) => return Ok(wire::text(503, format!("error trying to reach service: {error}\n"))),
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let theirs = response.extensions_mut().remove::<OnUpgrade>();
        let (Some(ours), Some(theirs)) = (upgraded, theirs) else {
            return Err(Status::internal("the aggregated server upgraded a connection that was not to be"));
        };
        let trail = trail.clone();
        tokio::spawn(async move {
            // It is a part of the request.
            let _trail = trail;
            let (Ok(ours), Ok(theirs)) = tokio::join!(ours, theirs) else { return };
            let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut ours, &mut theirs) => {}
                () = closing.cancelled() => {}
            }
        });
        return Ok(response.map(|_| wire::full("")));
    }
    for dropped in [header::CONNECTION, header::TRANSFER_ENCODING] {
        response.headers_mut().remove(dropped);
    }
    Ok(response)
}

/// Why there is nobody to pass a request on to.
pub(super) enum Unreachable {
    /// The Service has no endpoint.
    Service,
    /// The APIService's certificates cannot be read.
    Tls(String),
}

/// An endpoint of the route's Service.
pub(super) fn upstream(server: &ApiServer, route: &Route) -> Result<Upstream, Unreachable> {
    let tls = route.tls.clone().map_err(Unreachable::Tls)?;
    let hub = server.registry().hub();
    let (host, port) = service_resolver::resolve(hub, &route.namespace, &route.service, route.port)
        .map_err(|_| Unreachable::Service)?;
    Ok(Upstream { host, port, tls: Some(tls), name: Some(route.server_name()) })
}

/// The client's headers without its credentials, and who it is.
fn headers(from: &HeaderMap, user: &UserInfo, upgrade: bool) -> HeaderMap {
    let kept = |name: &HeaderName| {
        let connection = matches!(name.as_str(), "connection" | "upgrade" | "keep-alive" | "proxy-connection");
        !DROPPED.contains(name)
            && (upgrade || !connection)
            && !name.as_str().starts_with("impersonate-")
            && !name.as_str().starts_with("x-remote-")
    };
    let mut headers: HeaderMap =
        from.iter().filter(|(name, _)| kept(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
    identify(&mut headers, user);
    headers
}

/// Sets `X-Remote-User`, `X-Remote-Uid`, `X-Remote-Group` and `X-Remote-Extra-…`.
pub(super) fn identify(headers: &mut HeaderMap, user: &UserInfo) {
    let mut add = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes())) {
            headers.append(name, value);
        }
    };
    add("x-remote-user", &user.name);
    if !user.uid.is_empty() {
        add("x-remote-uid", &user.uid);
    }
    user.groups.iter().for_each(|group| add("x-remote-group", group));
    for (key, values) in &user.extra {
        let name = format!("x-remote-extra-{}", escape(key));
        values.iter().for_each(|value| add(&name, value));
    }
}

/// What a header's name cannot hold is written `%xx` (`headerKeyEscape`).
fn escape(key: &str) -> String {
    let mut escaped = String::with_capacity(key.len());
    for byte in key.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
        if plain { escaped.push(byte as char) } else { escaped.push_str(&format!("%{byte:02X}")) }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_told_and_nobody_can_pretend() {
        let mut user = UserInfo::new("jane", ["a", "b"]);
        user.extra.insert("example.com/scope".into(), vec!["x".into()]);
        let mut from = HeaderMap::new();
        for (name, value) in [("x-remote-user", "root"), ("authorization", "Bearer t"), ("accept", "*/*")] {
            from.insert(name, value.parse().unwrap());
        }
        let headers = headers(&from, &user, false);
        assert_eq!(headers.get_all("x-remote-user").iter().collect::<Vec<_>>(), ["jane"]);
        assert_eq!(headers.get_all("x-remote-group").iter().count(), 3);
        assert_eq!(headers["x-remote-extra-example.com%2fscope"], "x");
        assert!(headers.get("authorization").is_none() && headers.get("accept").is_some());
    }
}
