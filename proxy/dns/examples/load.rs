//! What cluster DNS costs: `cargo run --release -p orlop-dns --example load`.
//!
//! 10,000 Services of 5 endpoints, a listener on loopback, and callers that ask for names over UDP, each one question at a time. Prints
//! questions per second, the median and 99th percentile of their time, and what the table adds to resident memory.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use orlop_dns::{Config, Dns};
use serde_json::json;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 5;
const SECONDS: u64 = 5;

#[tokio::main]
async fn main() {
    let before = resident();
    let address = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let dns = Dns::new(Config::new(vec![address])).unwrap();
    let began = Instant::now();
    let (mut services, mut slices) = (HashSet::new(), HashSet::new());
    for n in 0..SERVICES {
        let (name, slice) = (format!("service-{n}"), format!("service-{n}-abcde"));
        let ip = Ipv4Addr::from(0x0a60_0000 + n);
        let spec = json!({"clusterIPs": [ip], "ports": [{"name": "http", "port": 80}]});
        let meta = json!({"namespace": "default", "name": name});
        let service = serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap();
        let endpoints: Vec<_> =
            (0..ENDPOINTS).map(|e| json!({"addresses": [Ipv4Addr::from(0x0af4_0000 + n * ENDPOINTS + e)]})).collect();
        let labels = json!({"kubernetes.io/service-name": name});
        let of_service = json!({
            "metadata": {"namespace": "default", "name": slice, "labels": labels},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints,
        });
        let of_service = serde_json::from_value(of_service).unwrap();
        dns.update(|table| {
            table.upsert_service(&service);
            table.upsert_slice(&of_service);
        });
        services.insert(format!("default/{name}"));
        slices.insert(format!("default/{slice}"));
    }
    dns.update(|table| {
        table.services_listed(&services);
        table.slices_listed(&slices);
    });
    drop((services, slices));
    println!(
        "{SERVICES} Services x {ENDPOINTS}: fed in {:?}, {} KiB more resident",
        began.elapsed(),
        resident() - before
    );
    tokio::spawn(dns.bind().await.unwrap().serve(CancellationToken::new()));
    for callers in [1, 8, 64] {
        for (what, name) in
            [("a name", "service-%.default.svc.cluster.local."), ("a denial", "absent-%.default.svc.cluster.local.")]
        {
            let end = Instant::now() + Duration::from_secs(SECONDS);
            let tasks: Vec<_> = (0..callers).map(|caller| tokio::spawn(call(address, name, caller, end))).collect();
            let mut times = Vec::new();
            for task in tasks {
                times.extend(task.await.unwrap());
            }
            times.sort_unstable();
            let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
            let rate = times.len() as u64 / SECONDS;
            println!("{what}, {callers} callers: {rate}/s, p50 {:?}, p99 {:?}", at(0.5), at(0.99));
        }
    }
    println!("{} KiB resident at the end, callers included", resident());
}

async fn call(address: std::net::SocketAddr, name: &'static str, caller: u32, end: Instant) -> Vec<Duration> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(address).await.unwrap();
    let (mut times, mut buffer) = (Vec::new(), [0; 512]);
    for n in 0.. {
        if Instant::now() > end {
            break;
        }
        let number = ((caller + n) * 7919 % SERVICES).to_string();
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name.replace('%', &number)).unwrap(), RecordType::A));
        let bytes = message.to_vec().unwrap();
        let began = Instant::now();
        socket.send(&bytes).await.unwrap();
        socket.recv(&mut buffer).await.unwrap();
        times.push(began.elapsed());
    }
    times
}

/// Resident memory in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
