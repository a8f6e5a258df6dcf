//! The IPAddress of each cluster IP: made when a Service has taken the address, removed when it has given it back, made again when
//! somebody removed it. kube-apiserver allocates by these objects; here the stored Services say what is taken, so that the objects
//! may follow a moment later and cost a Service's creation nothing.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::{Value, json};

use super::{ADDRESSES, Allocator, Claim, family};
use crate::object::meta;
use crate::rest::now;
use crate::server::ApiServer;
use crate::status::Status;

const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";
/// What could not be written is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// Whether the allocator made this IPAddress; any other is its maker's.
pub(super) fn is_ours(address: &Value) -> bool {
    address["metadata"]["labels"][MANAGED_BY] == MANAGER
}

impl Allocator {
    fn take_unsettled(&self) -> HashSet<IpAddr> {
        std::mem::take(&mut self.lock().unsettled)
    }

    fn unsettle_again(&self, left: impl IntoIterator<Item = IpAddr>) {
        self.lock().unsettled.extend(left);
        self.unsettled.notify_one();
    }

    /// Namespace and name of the Service that has the address.
    fn holder(&self, ip: IpAddr) -> Option<(String, String)> {
        let state = self.lock();
        let uid = state.taken.get(&Claim::Ip(ip))?;
        state.services.get(uid)?.place.clone()
    }
}

/// Runs until the server stops.
pub fn keep(server: &Arc<ApiServer>) {
    let weak: Weak<ApiServer> = Arc::downgrade(server);
    let (allocator, stop) = (server.allocator().clone(), server.stop_token());
    tokio::spawn(async move {
        loop {
            let mut left: Vec<IpAddr> = allocator.take_unsettled().into_iter().collect();
            while let Some(ip) = left.pop() {
                let Some(server) = weak.upgrade().filter(|server| !server.is_stopping()) else { return };
                if let Err(error) = settle(&server, &allocator, ip).await {
                    tracing::warn!(%error, %ip, "an IPAddress cannot be kept, trying again");
                    drop(server);
                    tokio::time::sleep(AGAIN).await;
                    left.push(ip);
                    allocator.unsettle_again(left.drain(..));
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = allocator.unsettled.notified() => {}
            }
        }
    });
}

/// Makes the object of one address what it should be.
async fn settle(server: &ApiServer, allocator: &Allocator, ip: IpAddr) -> Result<(), Status> {
    let registry = server.registry();
    let Some(cache) = registry.hub().cache_at(ADDRESSES) else { return Ok(()) };
    let found = registry.get(&cache, "", &ip.to_string()).await?;
    let holder = allocator.holder(ip);
    match (holder, found) {
        (Some((namespace, name)), None) => {
            // Somebody else may have been faster: the cache will tell.
            registry.put(&cache, address(ip, &namespace, &name), 0).await?;
        }
        (holder, Some(found)) => {
            let value = found.value();
            let parent = &value["spec"]["parentRef"];
            let same = |(namespace, name): (String, String)| {
                parent["resource"] == "services" && parent["namespace"] == namespace && parent["name"] == name
            };
            let leaving = !meta(&value, "deletionTimestamp").is_empty();
            // A reference never changes: the object is made anew when the cache tells that the wrong one has gone.
            if is_ours(&value) && !leaving && !holder.is_some_and(same) {
                registry.delete(&cache, &found).await?;
            }
        }
        (None, None) => {}
    }
    Ok(())
}

fn address(ip: IpAddr, namespace: &str, name: &str) -> Value {
    json!({
        "kind": "IPAddress", "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": ip.to_string(), "uid": uuid::Uuid::new_v4().to_string(), "creationTimestamp": now(),
            "labels": {FAMILY: family(ip), MANAGED_BY: MANAGER},
        },
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": name}},
    })
}
