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
        [endpoint, check] => (*endpoint, Some(*check)),
        _ => return Ok(crate::handle::nothing()),
    };
    let excluded: Vec<&str> = query.all("exclude").collect();
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
        if excluded.contains(&name) {
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
    if !failed.is_empty() {
        return Ok(wire::text(500, format!("{report}{endpoint} check failed\n")));
    }
    if query.get("verbose").is_some() {
        return Ok(wire::text(200, format!("{report}{endpoint} check passed\n")));
    }
    Ok(wire::text(200, "ok"))
}

async fn checks(server: &ApiServer, endpoint: &str) -> Vec<(&'static str, Result<(), String>)> {
    let mut checks = vec![("ping", Ok(())), ("log", Ok(()))];
    let store = match server.registry().hub().failure() {
        Some(error) => Err(error.to_string()),
        None => server.registry().store().revision().await.map(drop).map_err(|e| e.to_string()),
    };
    checks.push(("etcd", store));
    if endpoint != "livez" {
        // The server is made only after its caches are filled and the bootstrap objects are written.
        checks.push(("informer-sync", Ok(())));
        checks.push(("poststarthook/rbac/bootstrap-roles", Ok(())));
        checks.push(("poststarthook/start-system-namespaces-controller", Ok(())));
    }
    if endpoint == "readyz" {
        let stopping = if server.is_stopping() { Err("process is shutting down".to_owned()) } else { Ok(()) };
        checks.push(("shutdown", stopping));
    }
    checks
}
