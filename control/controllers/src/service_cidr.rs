//! ServiceCIDRs (`pkg/controller/servicecidrs`): the API server gives out addresses of those that are Ready, and one that is
//! deleted stays until no Service has an address that is in no other.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use crate::controller::{self, Next};
use crate::{Informer, Key, Queue};

pub(crate) const NAME: &str = "service-cidrs-controller";
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// By then every API server has heard of a deletion, and gives out no more addresses of the range.
const GRACE: Duration = Duration::from_secs(1);
/// A range that waits for its Services to go is looked at so often.
const AGAIN: Duration = Duration::from_secs(2);

/// The views that the controller reads.
pub(crate) struct Views {
    pub(crate) ranges: Arc<Informer<ServiceCIDR>>,
    pub(crate) services: Arc<Informer<Service>>,
}

/// Runs the controller until cancelled.
pub(crate) async fn run(client: Client, views: Views, stop: CancellationToken) {
    let queue = Queue::<Key>::default();
    controller::enqueue(&views.ranges, &queue);
    views.ranges.synced().await;
    views.services.synced().await;
    let views = Arc::new(views);
    let reconcile = move |key: Key| {
        let (client, views) = (client.clone(), views.clone());
        async move { reconcile(&client, &views, &key).await }
    };
    controller::work(NAME, queue, 1, stop, reconcile).await;
}

async fn reconcile(client: &Client, views: &Views, key: &Key) -> Result<Next, kube::Error> {
    let Some(range) = views.ranges.get(key) else { return Ok(Next::Settled) };
    let api = Api::<ServiceCIDR>::all(client.clone());
    let held = range.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
    let Some(Time(deleted)) = range.metadata.deletion_timestamp.clone() else {
        let mut range = range.as_ref().clone();
        if !held {
            range.finalizers_mut().push(FINALIZER.into());
            range = api.replace(&key.name, &PostParams::default(), &range).await?;
        }
        let ready = conditions(&range).any(|condition| condition.type_ == "Ready" && condition.status == "True");
        return match ready {
            true => Ok(Next::Settled),
            false => say(&api, range, "True", "", "Kubernetes Service CIDR is ready").await,
        };
    };
    if !held {
        return Ok(Next::Settled);
    }
    let since = Timestamp::now().duration_since(deleted).unsigned_abs();
    if since < GRACE {
        return Ok(Next::After(GRACE - since));
    }
    let others: Vec<IpNet> = views.ranges.all().iter().filter(|other| !leaves(other)).flat_map(|o| blocks(o)).collect();
    let own = blocks(&range);
    let only_here = |ip: IpAddr| own.iter().any(|b| b.contains(&ip)) && !others.iter().any(|b| b.contains(&ip));
    if views.services.all().iter().flat_map(|service| addresses(service)).any(only_here) {
        const WAITS: &str =
            "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
        let said = conditions(&range).any(|condition| condition.type_ == "Ready" && condition.status == "False");
        if !said {
            say(&api, range.as_ref().clone(), "False", "Terminating", WAITS).await?;
        }
        return Ok(Next::After(AGAIN));
    }
    let mut freed = range.as_ref().clone();
    freed.finalizers_mut().retain(|finalizer| finalizer != FINALIZER);
    controller::gone_is_fine(api.replace(&key.name, &PostParams::default(), &freed).await)?;
    Ok(Next::Settled)
}

/// Writes the condition Ready.
async fn say(
    api: &Api<ServiceCIDR>,
    mut range: ServiceCIDR,
    status: &str,
    reason: &str,
    message: &str,
) -> Result<Next, kube::Error> {
    let all = range.status.get_or_insert_default().conditions.get_or_insert_default();
    all.retain(|condition| condition.type_ != "Ready");
    all.push(Condition {
        type_: "Ready".into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        last_transition_time: Time(Timestamp::now()),
        observed_generation: None,
    });
    controller::gone_is_fine(api.replace_status(&range.name_any(), &PostParams::default(), &range).await)?;
    Ok(Next::Settled)
}

fn conditions(range: &ServiceCIDR) -> impl Iterator<Item = &Condition> {
    range.status.iter().flat_map(|status| status.conditions.iter().flatten())
}

fn leaves(range: &ServiceCIDR) -> bool {
    range.metadata.deletion_timestamp.is_some()
}

fn blocks(range: &ServiceCIDR) -> Vec<IpNet> {
    range.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten()).filter_map(|block| block.parse().ok()).collect()
}

fn addresses(service: &Service) -> Vec<IpAddr> {
    let listed = service.spec.iter().flat_map(|spec| spec.cluster_ips.iter().flatten());
    listed.filter_map(|ip| ip.parse().ok()).collect()
}
