//! What a request asks for: the path, method and query taken apart as kube-apiserver's `RequestInfo` does. Pure: no body, no
//! store, no user.

use http::Method;

mod query;

pub use query::{Query, percent_decode};

/// A request's target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether the path names a resource (else it is `/version`, discovery, …).
    pub is_resource: bool,
    /// get, list, watch, create, update, patch, delete, deletecollection; for paths the method in small letters.
    pub verb: &'static str,
    /// API group, empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace, empty for none. For `namespaces/x` it is `x`.
    pub namespace: String,
    /// Plural.
    pub resource: String,
    /// Subresource, empty for none.
    pub subresource: String,
    /// Object name, empty for a collection.
    pub name: String,
    /// What follows the subresource (proxy paths), without a leading slash.
    pub rest: String,
    /// The whole path.
    pub path: String,
    /// The method; what is passed on keeps it.
    pub method: Method,
}

impl RequestInfo {
    /// Takes a request apart.
    pub fn new(method: &Method, path: &str, query: &Query) -> Self {
        let mut info = Self { path: path.to_owned(), verb: lower(method), method: method.clone(), ..Self::default() };
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let mut rest: &[&str] = match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => {
                info.version = (*version).to_owned();
                rest
            }
            ["apis", group, version, rest @ ..] if !rest.is_empty() => {
                info.group = (*group).to_owned();
                info.version = (*version).to_owned();
                rest
            }
            _ => return info,
        };
        info.is_resource = true;
        let mut watch_prefix = false;
        if let ["watch", tail @ ..] = rest {
            watch_prefix = true;
            rest = tail;
        }
        if let ["namespaces", namespace, tail @ ..] = rest {
            info.namespace = query::percent_decode(namespace);
            // `namespaces/x`, `namespaces/x/status` and `namespaces/x/finalize` are the namespace itself.
            if !matches!(tail, [] | ["status"] | ["finalize"]) {
                rest = tail;
            }
        }
        let mut parts = rest.iter();
        info.resource = parts.next().map(|p| (*p).to_owned()).unwrap_or_default();
        info.name = parts.next().map(|p| query::percent_decode(p)).unwrap_or_default();
        info.subresource = parts.next().map(|p| (*p).to_owned()).unwrap_or_default();
        info.rest = parts.copied().collect::<Vec<_>>().join("/");
        let watching = watch_prefix || query.flag("watch");
        info.verb = match (method.as_str(), info.name.is_empty()) {
            ("POST", _) => "create",
            ("GET" | "HEAD", true) if watching => "watch",
            ("GET" | "HEAD", true) => "list",
            ("GET" | "HEAD", false) if watch_prefix => "watch",
            ("GET" | "HEAD", false) => "get",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "deletecollection",
            ("DELETE", false) => "delete",
            _ => info.verb,
        };
        info
    }

    /// Whether it lasts as long as its client likes: watches, logs and streams.
    pub fn is_long_running(&self) -> bool {
        let streams = matches!(self.subresource.as_str(), "attach" | "exec" | "proxy" | "log" | "portforward");
        self.verb == "watch" || (self.is_resource && streams)
    }
}

fn lower(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "get",
        "HEAD" => "head",
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        "OPTIONS" => "options",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: Method, uri: &str) -> RequestInfo {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        RequestInfo::new(&method, path, &Query::parse(query))
    }

    #[test]
    fn a_namespaced_object_with_a_subresource() {
        let info = parse(Method::PUT, "/apis/apps/v1/namespaces/web/deployments/front/scale");
        assert_eq!((info.verb, info.group.as_str(), info.namespace.as_str()), ("update", "apps", "web"));
        assert_eq!(
            (info.resource.as_str(), info.name.as_str(), info.subresource.as_str()),
            ("deployments", "front", "scale")
        );
    }

    #[test]
    fn a_namespace_is_an_object_in_itself() {
        let info = parse(Method::GET, "/api/v1/namespaces/web");
        assert_eq!(
            (info.verb, info.resource.as_str(), info.name.as_str(), info.namespace.as_str()),
            ("get", "namespaces", "web", "web")
        );
        let info = parse(Method::PUT, "/api/v1/namespaces/web/finalize");
        assert_eq!((info.resource.as_str(), info.subresource.as_str()), ("namespaces", "finalize"));
        let info = parse(Method::GET, "/api/v1/namespaces/web/pods");
        assert_eq!((info.verb, info.resource.as_str(), info.name.as_str()), ("list", "pods", ""));
    }

    #[test]
    fn a_watch_is_asked_for_by_query_or_by_path() {
        assert_eq!(parse(Method::GET, "/api/v1/pods?watch=1").verb, "watch");
        assert_eq!(parse(Method::GET, "/api/v1/pods?watch=false").verb, "list");
        assert_eq!(parse(Method::GET, "/api/v1/watch/namespaces/a/pods/b").verb, "watch");
    }

    #[test]
    fn watches_and_streams_last() {
        for uri in ["/api/v1/pods?watch=1", "/api/v1/watch/pods", "/api/v1/namespaces/a/pods/b/exec?command=ls"] {
            assert!(parse(Method::GET, uri).is_long_running(), "{uri}");
        }
        assert!(parse(Method::POST, "/api/v1/namespaces/a/services/b/proxy/x/y").is_long_running());
        for uri in ["/api/v1/pods", "/api/v1/namespaces/a/configmaps/log", "/healthz/log", "/api/v1/pods?watch=0"] {
            assert!(!parse(Method::GET, uri).is_long_running(), "{uri}");
        }
    }

    #[test]
    fn discovery_and_health_are_no_resources() {
        for path in ["/api", "/apis", "/api/v1", "/apis/apps/v1", "/version", "/healthz/etcd", "/openapi/v3"] {
            assert!(!parse(Method::GET, path).is_resource, "{path}");
        }
    }
}
