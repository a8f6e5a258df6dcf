//! Services without selector and their EndpointSlices, written as fast as the API server takes them.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use orlop_conformance::Cluster;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// The objects of namespace `default`.
pub struct Objects {
    runtime: Runtime,
    services: Api<Service>,
    slices: Api<EndpointSlice>,
}

/// An EndpointSlice of a Service: one port for TCP and one for UDP, called as the protocols, and these endpoints.
pub fn slice(name: &str, service: &str, port: u16, endpoints: &[Value]) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "tcp", "protocol": "TCP", "port": port}, {"name": "udp", "protocol": "UDP", "port": port}],
        "endpoints": endpoints,
    })
}

impl Objects {
    /// With the person's own kubeconfig.
    pub fn of(cluster: &Cluster) -> Result<Self> {
        // Another test of the process may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = runtime.block_on(cluster.client())?;
        let (services, slices) = (Api::default_namespaced(client.clone()), Api::default_namespaced(client));
        Ok(Self { runtime, services, slices })
    }

    /// Makes the object what is given, whether or not it is there. It is durable when this returns.
    pub fn apply(&self, object: &Value) -> Result<Value> {
        let name = object["metadata"]["name"].as_str().context("an object has a name")?;
        let parameters = PatchParams::apply("chaos").force();
        let patch = Patch::Apply(object);
        let done = self.runtime.block_on(async {
            Ok::<_, kube::Error>(match object["kind"].as_str() {
                Some("Service") => serde_json::to_value(self.services.patch(name, &parameters, &patch).await?),
                _ => serde_json::to_value(self.slices.patch(name, &parameters, &patch).await?),
            })
        });
        Ok(done.with_context(|| format!("applying {object}"))??)
    }

    /// Says where a load balancer takes a Service's connections in, as its controller does: `status.loadBalancer.ingress`.
    pub fn set_ingress(&self, service: &str, ingress: &Value) -> Result<()> {
        let status = json!({"status": {"loadBalancer": {"ingress": [ingress]}}});
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(status));
        let patched = self.services.patch_status(service, &parameters, &patch);
        self.runtime.block_on(patched).map(drop).with_context(|| format!("the ingress of Service {service}"))
    }

    /// Deletes a Service.
    pub fn delete_service(&self, name: &str) -> Result<()> {
        let deleted = self.runtime.block_on(self.services.delete(name, &DeleteParams::default()));
        deleted.map(drop).with_context(|| format!("deleting Service {name}"))
    }

    /// Deletes an EndpointSlice.
    pub fn delete_slice(&self, name: &str) -> Result<()> {
        let deleted = self.runtime.block_on(self.slices.delete(name, &DeleteParams::default()));
        deleted.map(drop).with_context(|| format!("deleting EndpointSlice {name}"))
    }
}
