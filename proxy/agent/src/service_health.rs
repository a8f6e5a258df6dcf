//! `healthCheckNodePort`: a small HTTP server for each Service that asks for one, which tells a load balancer whether this
//! node has endpoints of it, in kube-proxy's words.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::{Response, StatusCode};
use nix::errno::Errno;
use orlop_plan::{Family, HealthCheck, NodePortAddresses};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::driver::HealthChecks;
use crate::event::Events;
use crate::health::Health;
use crate::http::{Answer, Handler, Request, accept, listen, page};

/// A port that is taken is tried again so often.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps the servers equal to what the watch says, until the token is cancelled.
pub(crate) async fn run(
    health: Arc<Health>,
    mut checks: watch::Receiver<HealthChecks>,
    mut addresses: watch::Receiver<NodePortAddresses>,
    events: Events,
    stop: CancellationToken,
) {
    let mut open: HashMap<(Arc<str>, SocketAddr), CancellationToken> = HashMap::new();
    // What was said of each Service whose port is not had on every address.
    let mut reported: BTreeMap<Arc<str>, String> = BTreeMap::new();
    loop {
        let wanted = wanted(&checks.borrow_and_update(), &addresses.borrow_and_update());
        open.retain(|key, server| {
            let stays = wanted.contains_key(key);
            if !stays {
                server.cancel();
            }
            stays
        });
        let mut refused: BTreeMap<Arc<str>, (u16, String)> = BTreeMap::new();
        for (key, port) in wanted.into_iter().filter(|(key, _)| !open.contains_key(key)).collect::<Vec<_>>() {
            let (service, address) = &key;
            match listen(*address) {
                Ok(listener) => {
                    let server = stop.child_token();
                    let page = ServicePage { service: service.clone(), health: health.clone(), checks: checks.clone() };
                    tokio::spawn(accept("service health", listener, Arc::new(page), server.clone()));
                    open.insert(key, server);
                }
                Err(error) => {
                    refused.entry(service.clone()).or_insert_with(|| (port, refusal(*address, &error)));
                }
            }
        }
        reported.retain(|service, _| refused.contains_key(service));
        for (service, (port, why)) in &refused {
            if reported.get(service) != Some(why) {
                // Outside of the macro, which evaluates nothing that nobody logs.
                let note = events.health_check_refused(service, *port, why);
                tracing::warn!("{note}; tried again every {RETRY:?}");
                reported.insert(service.clone(), why.clone());
            }
        }
        let retry = !refused.is_empty();
        tokio::select! {
            () = stop.cancelled() => return,
            changed = checks.changed() => if changed.is_err() { return },
            changed = addresses.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RETRY), if retry => {}
        }
    }
}

/// Why an address cannot be had, in Go's words.
fn refusal(address: SocketAddr, error: &io::Error) -> String {
    let why =
        error.raw_os_error().map_or_else(|| error.to_string(), |code| Errno::from_raw(code).desc().to_lowercase());
    format!("listen tcp {address}: bind: {why}")
}

/// Every socket that must be open, with its port.
fn wanted(checks: &HealthChecks, addresses: &NodePortAddresses) -> BTreeMap<(Arc<str>, SocketAddr), u16> {
    let addresses: Vec<IpAddr> = match addresses {
        NodePortAddresses::AnyLocal => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        NodePortAddresses::Only(list) => list.clone(),
    };
    let each = |(service, check): (&Arc<str>, &HealthCheck)| {
        let (service, port) = (service.clone(), check.port);
        addresses.clone().into_iter().map(move |ip| ((service.clone(), SocketAddr::new(ip, port)), port))
    };
    checks.iter().flat_map(each).collect()
}

struct ServicePage {
    service: Arc<str>,
    health: Arc<Health>,
    checks: watch::Receiver<HealthChecks>,
}

impl Handler for ServicePage {
    async fn answer(&self, request: Request) -> Answer {
        let family = Family::of(request.local.ip().to_canonical());
        let local = self.checks.borrow().get(&self.service).map_or(0, |check| check.local_endpoints(family));
        answer(&self.service, local, self.health.admits_traffic())
    }
}

fn answer(service: &str, local: usize, healthy: bool) -> Answer {
    let (namespace, name) = service.split_once('/').unwrap_or(("", service));
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": {namespace:?},\n\t\t\"name\": {name:?}\n\t}},\n\t\
         \"localEndpoints\": {local},\n\t\"serviceProxyHealthy\": {healthy}\n}}"
    );
    let status = if local > 0 && healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut answer: Response<_> = page(status, "application/json", body);
    answer.headers_mut().insert("x-load-balancing-endpoint-weight", HeaderValue::from(local));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    async fn text(answer: Answer) -> (StatusCode, String, String) {
        let status = answer.status();
        let weight = answer.headers()["x-load-balancing-endpoint-weight"].to_str().expect("a number").to_owned();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, weight, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn a_load_balancer_is_told_in_kube_proxys_words() {
        let (status, weight, body) = text(answer("default/web", 3, true)).await;
        assert_eq!((status, weight.as_str()), (StatusCode::OK, "3"));
        let expected = "{\n\t\"service\": {\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": 3,\n\t\"serviceProxyHealthy\": true\n}";
        assert_eq!(body, expected);
        assert_eq!(text(answer("default/web", 0, true)).await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(text(answer("default/web", 3, false)).await.0, StatusCode::SERVICE_UNAVAILABLE);
    }

    async fn get(address: SocketAddr) -> Option<u16> {
        let text = crate::fetch::get(address, "/").await.ok()?;
        Some(text.0)
    }

    async fn comes_to(address: SocketAddr, status: Option<u16>) -> bool {
        for _ in 0..100 {
            if get(address).await == status {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    #[tokio::test]
    async fn servers_open_answer_and_close_with_their_services() {
        let loopback: IpAddr = Ipv4Addr::LOCALHOST.into();
        let port = std::net::TcpListener::bind((loopback, 0)).and_then(|l| l.local_addr()).expect("a port").port();
        let health = Arc::new(Health::new(Duration::from_secs(60)));
        health.set_node_eligible(true);
        let (checks, seen) = watch::channel(HealthChecks::new());
        let (_addresses, known) = watch::channel(NodePortAddresses::Only(vec![loopback]));
        let stop = CancellationToken::new();
        let nobody = tower::service_fn(|_: hyper::Request<kube::client::Body>| async {
            Ok::<_, std::convert::Infallible>(hyper::Response::new(http_body_util::Empty::<bytes::Bytes>::new()))
        });
        let events = Events::new(kube::Client::new(nobody, "default"), "node1");
        let server = tokio::spawn(run(health.clone(), seen, known, events, stop.clone()));
        let set = |local_v4| {
            let check = HealthCheck { port, local_v4, local_v6: 0 };
            checks.send_replace([("default/web".into(), check)].into());
        };
        let address = SocketAddr::new(loopback, port);
        set(0);
        assert!(comes_to(address, Some(503)).await);
        set(2);
        assert!(comes_to(address, Some(200)).await);
        health.set_node_eligible(false);
        assert!(comes_to(address, Some(503)).await, "the node is about to go");
        checks.send_replace(HealthChecks::new());
        assert!(comes_to(address, None).await, "the Service is gone");
        stop.cancel();
        server.await.expect("it ends");
    }
}
