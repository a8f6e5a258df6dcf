//! `/healthz`, `/livez` and `/readyz`: named checks, as kube-apiserver lists them.

use http::Response;

use crate::request::Query;
use crate::server::ApiServer;
use crate::status::Status;
use crate::wire::{self, Body};

/// Answers `/readyz`, `/readyz?verbose`, `/readyz/etcd`, …
pub async fn answer(server: &ApiServer, segments: &[&str], query: &Query) -> Result<Response<Body>, Status> {
    let (endpoint, wanted) = match segments {
        [endpoint] => (*endpoint, None),
        [endpoint, check @ ..] => (*endpoint, Some(check.join("/"))),
        [] => return Ok(crate::handle::nothing()),
    };
    let mut excluded: Vec<&str> = query.all("exclude").collect();
    excluded.sort_unstable();
    excluded.dedup();
    let mut report = String::new();
    let mut failed = Vec::new();
    let checks = checks(server, endpoint).await;
    if let Some(wanted) = wanted {
        let Some((_, result)) = checks.iter().find(|(name, _)| *name == wanted) else {
            return Ok(crate::handle::nothing());
        };
        return Ok(match result {
            Ok(()) => wire::respond(200, "text/plain; charset=utf-8", "ok"),
            Err(why) => wire::text(500, format!("internal server error: {why}\n")),
        });
    }
    for (name, result) in checks {
        if let Some(at) = excluded.iter().position(|other| *other == name) {
            excluded.remove(at);
            report.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        match result {
            Ok(()) => report.push_str(&format!("[+]{name} ok\n")),
            Err(why) => {
                report.push_str(&format!("[-]{name} failed: {why}\n"));
                failed.push(name);
            }
        }
    }
    if !excluded.is_empty() {
        let names: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
        let names = names.join(",");
        report.push_str(&format!("warn: some health checks cannot be excluded: no matches for {names}\n"));
    }
    if !failed.is_empty() {
        return Ok(wire::text(500, format!("{report}{endpoint} check failed\n")));
    }
    if query.get("verbose").is_some() {
        return Ok(wire::text(200, format!("{report}{endpoint} check passed\n")));
    }
    Ok(wire::text(200, "ok"))
}

/// What kube-apiserver starts as hooks, in its order, as far as there is such a thing here: caches, admission, flow control, custom
/// resources, bootstrap objects, the aggregator and its documents. The server is made only after all of it is there.
const HOOKS: [&str; 23] = [
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/storage-readiness",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-kubernetes-service-cidr-controller",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
    "poststarthook/apiservice-openapi-controller",
    "poststarthook/apiservice-openapiv3-controller",
];

async fn checks(server: &ApiServer, endpoint: &str) -> Vec<(&'static str, Result<(), String>)> {
    let store = match server.registry().hub().failure() {
        Some(error) => Err(error.to_string()),
        None => server.registry().store().revision().await.map(drop).map_err(|e| e.to_string()),
    };
    let mut checks = vec![("ping", Ok(())), ("log", Ok(())), ("etcd", store.clone())];
    if endpoint == "readyz" {
        checks.extend([("etcd-readiness", store), ("informer-sync", Ok(()))]);
    }
    checks.extend(HOOKS.map(|hook| (hook, Ok(()))));
    if endpoint == "readyz" {
        let stopping = if server.is_stopping() { Err("process is shutting down".to_owned()) } else { Ok(()) };
        checks.push(("shutdown", stopping));
    }
    checks
}
