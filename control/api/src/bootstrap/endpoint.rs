//! The Service `kubernetes` in `default`: how pods reach this server. Its endpoints are kept at the advertised address.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::{Value, json};

use crate::allocation::first_address;
use crate::server::ApiServer;
use crate::status::Status;

const EVERY: Duration = Duration::from_secs(10);

/// Repairs the Service and its endpoints from time to time until the server stops.
pub fn keep(server: &Arc<ApiServer>) {
    let weak: Weak<ApiServer> = Arc::downgrade(server);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(EVERY).await;
            let Some(server) = weak.upgrade() else { return };
            if server.is_stopping() {
                return;
            }
            if let Err(error) = reconcile(&server).await {
                tracing::warn!(%error, "the kubernetes Service cannot be kept");
            }
        }
    });
}

/// Writes what is missing or differs.
pub async fn reconcile(server: &ApiServer) -> Result<(), Status> {
    let config = server.config();
    let (ip, address) = (first_address(&config.service_cidr.primary()), config.advertise_address);
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    write(server, json!({
        "kind": "Service", "apiVersion": "v1",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "spec": {
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": config.port}],
            "clusterIP": ip.to_string(), "clusterIPs": [ip.to_string()], "type": "ClusterIP", "sessionAffinity": "None",
            "ipFamilies": [family], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {}},
    }), &["spec"])
    .await?;
    write(
        server,
        json!({
            "kind": "Endpoints", "apiVersion": "v1",
            "metadata": {
                "name": "kubernetes", "namespace": "default",
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
            },
            "subsets": [{
                "addresses": [{"ip": address.to_string()}],
                "ports": [{"name": "https", "port": config.port, "protocol": "TCP"}],
            }],
        }),
        &["subsets"],
    )
    .await?;
    write(
        server,
        json!({
            "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
            "metadata": {
                "name": "kubernetes", "namespace": "default", "generation": 1,
                "labels": {"kubernetes.io/service-name": "kubernetes"},
            },
            "addressType": family,
            "endpoints": [{"addresses": [address.to_string()], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": config.port, "protocol": "TCP"}],
        }),
        &["endpoints", "ports"],
    )
    .await
}

/// Creates the object, or makes `fields` of the present one what they should be. A Service keeps its own spec while it
/// has the right address and target.
async fn write(server: &ApiServer, mut wanted: Value, fields: &[&str]) -> Result<(), Status> {
    let kind = wanted["kind"].as_str().unwrap_or_default().to_owned();
    let api_version = wanted["apiVersion"].as_str().unwrap_or_default();
    let catalog = server.catalog();
    let resource =
        catalog.by_kind(api_version, &kind).ok_or_else(|| Status::internal(format!("{kind} is not served")))?;
    let registry = server.registry();
    let cache = registry.hub().cache(resource)?;
    let Some(found) = registry.get(&cache, "default", "kubernetes").await? else {
        wanted["metadata"]["uid"] = uuid::Uuid::new_v4().to_string().into();
        wanted["metadata"]["creationTimestamp"] = crate::rest::now().into();
        registry.put(&cache, wanted, 0).await?;
        return Ok(());
    };
    let mut present = found.value();
    let right = |present: &Value, field: &str| match field {
        "spec" => ["clusterIP", "ports"].iter().all(|f| contains(&present["spec"][f], &wanted["spec"][f])),
        field => contains(&present[field], &wanted[field]),
    };
    if fields.iter().all(|f| right(&present, f)) {
        return Ok(());
    }
    for field in fields {
        present[field] = wanted[field].clone();
    }
    registry.put(&cache, present, found.revision).await.map(drop)
}

/// Whether everything that `wanted` says holds in `present`, which may say more.
fn contains(present: &Value, wanted: &Value) -> bool {
    match (present, wanted) {
        (Value::Object(present), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| present.get(key).is_some_and(|p| contains(p, value)))
        }
        (Value::Array(present), Value::Array(wanted)) => {
            present.len() == wanted.len() && present.iter().zip(wanted).all(|(p, w)| contains(p, w))
        }
        (present, wanted) => present == wanted,
    }
}
