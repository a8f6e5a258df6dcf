//! The API server under load: writes, reads, lists and watches over one HTTP/2 connection, as client-go asks; its memory; its start with
//! much in its store. With `ORLOP_BENCH_KUBE_APISERVER=PATH` and `ORLOP_BENCH_ETCD=PATH` the real ones run on the same certificates, one
//! after the other; otherwise their figures are those that were recorded on a machine of this kind.

mod frames;
mod load;
mod target;
mod watchers;
mod wire;

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::report::{Baseline, Report, quantile};
use load::{Load, load, milliseconds};
use target::{Running, Target};
use wire::{Client, Connection};

const CLIENTS: [usize; 3] = [1, 16, 64];
const WATCHERS: [usize; 2] = [100, 1_000];
/// Objects of the list that is timed; 9.4 MB as JSON.
const LISTED: usize = 10_000;
const LISTS: usize = 15;
/// Objects of a list that many ask for.
const SMALL_LIST: usize = 100;
const PODS: usize = 10_000;
const STORED: usize = 100_000;
const SERVICES: usize = 10_000;
/// Services that are timed when those exist.
const MORE_SERVICES: usize = 2_000;
/// Services whose slices are waited for.
const SLICES: usize = 50;
/// Writes of the disk alone.
const SYNCS: usize = 100;
const PEER: &str = "kube-apiserver + etcd";

/// A figure: what, how much, its unit.
type Figure = (String, f64, &'static str);

/// What was recorded of kube-apiserver 1.36 with etcd, by the name of the figure; per second where `each` is measured.
const RECORDED: [(&str, f64); 15] = [
    ("create ConfigMap, 1 clients: each", 1e6 / 456.0),
    ("create ConfigMap, 16 clients: each", 1e6 / 1_616.0),
    ("create ConfigMap, 64 clients: each", 1e6 / 1_938.0),
    ("create ConfigMap, 1 clients: p99", 11.0),
    ("create ConfigMap, 16 clients: p99", 24.0),
    ("create ConfigMap, 64 clients: p99", 79.0),
    ("get ConfigMap, 1 clients: each", 1e6 / 1_227.0),
    ("get ConfigMap, 16 clients: each", 1e6 / 3_525.0),
    ("get ConfigMap, 64 clients: each", 1e6 / 3_963.0),
    ("list 10,000 ConfigMaps: p50", 93.0),
    ("list 10,000 ConfigMaps in pages of 500", 173.0),
    ("event to 100 watchers: p50", 6.1),
    ("event to 100 watchers: p99", 9.0),
    ("create Service, 16 clients, 10,000 exist: each", 1e6 / 32.0),
    ("Service to its EndpointSlice: p50", 9.9),
];

/// At most so much, in the figure's unit.
const BUDGETS: [(&str, f64); 4] = [
    ("list 10,000 ConfigMaps: p50", 15.0),
    ("event to 100 watchers: p99", 3.0),
    ("create Service, 16 clients, 10,000 exist: each", 1e6 / 2_000.0),
    ("Service to its EndpointSlice: p50", 3.0),
];

/// At most this share of the peer's figure.
const SHARES: [(&str, f64); 3] = [
    ("create ConfigMap, 64 clients: each", 0.2),
    ("update ConfigMap, 64 clients: each", 0.2),
    ("get ConfigMap, 64 clients: each", 0.2),
];

/// Measures.
pub fn run(report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let directory = tempfile::tempdir()?;
    let peer = match Target::peer() {
        Some(peer) => {
            // The certificates are `orlop server`'s.
            let data = directory.path().join("peer");
            std::fs::create_dir(&data)?;
            drop(Target::Orlop.start(&data)?);
            eprintln!("  ({PEER} run)");
            Some(figures(&runtime, &peer, &data)?)
        }
        None => None,
    };
    let data = directory.path().join("orlop");
    std::fs::create_dir(&data)?;
    eprintln!("  (orlop server runs)");
    for (name, value, unit) in figures(&runtime, &Target::Orlop, &data)? {
        let measured =
            peer.as_ref().map(|peer| peer.iter().find(|(other, ..)| *other == name).map(|(_, value, _)| *value));
        let baseline = match measured {
            Some(value) => value.and_then(|value| Baseline::measured(value, PEER)),
            None => of(&RECORDED, &name).and_then(|value| Baseline::recorded(value, PEER)),
        };
        let baseline = baseline.or_else(|| of(&RECORDED, &name).and_then(|value| Baseline::recorded(value, PEER)));
        let share = of(&SHARES, &name).zip(baseline.as_ref()).map(|(share, baseline)| share * baseline.value);
        report.row(&name, value, unit, baseline, of(&BUDGETS, &name).or(share));
    }
    Ok(())
}

fn of(table: &[(&str, f64)], name: &str) -> Option<f64> {
    table.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
}

/// Everything that is measured of one of them.
fn figures(runtime: &tokio::runtime::Runtime, target: &Target, data: &Path) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let server = target.start(data)?;
    let client = runtime.block_on(Client::of(&data.join("admin.kubeconfig"), server.port))?;
    runtime.block_on(measure(&mut figures, target, &server, &client))?;
    drop(server);
    let again = target.start(data)?;
    figures.push((format!("start to /readyz with {STORED} objects"), again.start, "s"));
    Ok(figures)
}

async fn measure(figures: &mut Vec<Figure>, target: &Target, server: &Running, client: &Client) -> Result<()> {
    let connection = client.connect().await?;
    for namespace in ["load", "list", "small", "watch", "pods", "many", "services", "slices"] {
        let namespace = json!({"metadata": {"name": namespace}});
        connection.ask(Method::POST, "/api/v1/namespaces", namespace.to_string().into()).await?;
    }
    writes_and_reads(figures, server, &connection).await?;
    lists(figures, &connection).await?;
    for count in WATCHERS {
        let heard = watchers::watch(client.clone(), "watch", count, config_map).await?;
        let mut add =
            |what: &str, value, unit| figures.push((format!("event to {count} watchers: {what}"), value, unit));
        add("p50", quantile(&heard.delays, 0.5), "ms");
        add("p99", quantile(&heard.delays, 0.99), "ms");
        add("the last, p50", quantile(&heard.last, 0.5), "ms");
        add("bytes for each", heard.bytes, "B");
    }
    if matches!(target, Target::Orlop) {
        disk(figures)?;
        services(figures, &connection).await?;
        slices(figures, client).await?;
    }
    fill(&connection, "pods", "pods", PODS, pod).await?;
    figures.push((format!("memory with {PODS} pods and {} ConfigMaps", LISTED + 12_000), server.memory()?, "MiB"));
    let there = LISTED + PODS + SERVICES;
    fill(&connection, "many", "configmaps", STORED - there, config_map).await
}

/// What no write can be faster than, and no event of it: as much as a write is put at the end of a file of the disk below and synced.
fn disk(figures: &mut Vec<Figure>) -> Result<()> {
    let mut file = tempfile::tempfile()?;
    let mut times = Vec::new();
    for number in 0..SYNCS {
        let begun = Instant::now();
        file.write_all(&config_map(&format!("disk-{number}")))?;
        file.sync_data()?;
        times.push(milliseconds(begun.elapsed()));
        std::thread::sleep(watchers::PAUSE);
    }
    figures.push(("the disk alone: p50".into(), quantile(&times, 0.5), "ms"));
    figures.push(("the disk alone: p99".into(), quantile(&times, 0.99), "ms"));
    Ok(())
}

/// Creates, updates and gets with few and many clients.
async fn writes_and_reads(figures: &mut Vec<Figure>, server: &Running, connection: &Connection) -> Result<()> {
    for clients in CLIENTS {
        let count = if clients == 1 { 1_000 } else { 5_000 };
        let path = "/api/v1/namespaces/load/configmaps";
        let name = move |number| format!("c{clients}-{number}");
        let kept = connection.clone();
        let before = server.processor()?;
        let created = load(clients, count, move |number| {
            let (connection, name) = (kept.clone(), name(number));
            async move { connection.ask(Method::POST, path, config_map(&name)).await.map(drop) }
        });
        add(figures, "create ConfigMap", clients, created.await?);
        #[allow(clippy::cast_precision_loss)]
        let cost = (server.processor()? - before) * 1e6 / count as f64;
        figures.push((format!("create ConfigMap, {clients} clients: processor time each"), cost, "us"));
        let kept = connection.clone();
        let updated = load(clients, count, move |number| {
            let (connection, name) = (kept.clone(), name(number));
            async move { connection.ask(Method::PUT, &format!("{path}/{name}"), changed(&name)).await.map(drop) }
        });
        add(figures, "update ConfigMap", clients, updated.await?);
        let kept = connection.clone();
        let before = server.processor()?;
        let got = load(clients, 2 * count, move |number| {
            let (connection, name) = (kept.clone(), name(number % count));
            async move { connection.ask(Method::GET, &format!("{path}/{name}"), Bytes::new()).await.map(drop) }
        });
        add(figures, "get ConfigMap", clients, got.await?);
        #[allow(clippy::cast_precision_loss)]
        let cost = (server.processor()? - before) * 1e6 / (2 * count) as f64;
        figures.push((format!("get ConfigMap, {clients} clients: processor time each"), cost, "us"));
    }
    Ok(())
}

fn add(figures: &mut Vec<Figure>, what: &str, clients: usize, load: Load) {
    let mut add = |which: &str, value, unit| figures.push((format!("{what}, {clients} clients: {which}"), value, unit));
    add("each", load.each, "us");
    add("p50", quantile(&load.latencies, 0.5), "ms");
    add("p99", quantile(&load.latencies, 0.99), "ms");
}

/// A long list, whole and in pages, and a short one that many ask for.
async fn lists(figures: &mut Vec<Figure>, connection: &Connection) -> Result<()> {
    fill(connection, "list", "configmaps", LISTED, config_map).await?;
    let path = "/api/v1/namespaces/list/configmaps";
    let (mut times, mut pages) = (Vec::new(), Vec::new());
    for _ in 0..LISTS {
        let begun = Instant::now();
        let length = connection.length(Method::GET, path).await?;
        times.push(milliseconds(begun.elapsed()));
        ensure!(length > 900 * LISTED, "a list of {length} bytes");
    }
    for _ in 0..3 {
        let begun = Instant::now();
        let (mut token, mut seen) = (String::new(), 0);
        loop {
            let asked = format!("{path}?limit=500&continue={token}");
            let list: Value = serde_json::from_slice(&connection.ask(Method::GET, &asked, Bytes::new()).await?)?;
            seen += list["items"].as_array().map_or(0, Vec::len);
            match list["metadata"]["continue"].as_str() {
                Some(next) if !next.is_empty() => token = next.to_owned(),
                _ => break,
            }
        }
        pages.push(milliseconds(begun.elapsed()));
        ensure!(seen >= LISTED, "pages with {seen} objects");
    }
    figures.push(("list 10,000 ConfigMaps: p50".into(), quantile(&times, 0.5), "ms"));
    figures.push(("list 10,000 ConfigMaps: p99".into(), quantile(&times, 0.99), "ms"));
    figures.push(("list 10,000 ConfigMaps in pages of 500".into(), quantile(&pages, 0.5), "ms"));
    fill(connection, "small", "configmaps", SMALL_LIST, config_map).await?;
    for clients in CLIENTS {
        let kept = connection.clone();
        let listed = load(clients, 1_000, move |_| {
            let connection = kept.clone();
            async move { connection.ask(Method::GET, "/api/v1/namespaces/small/configmaps", Bytes::new()).await.map(drop) }
        });
        add(figures, &format!("list {SMALL_LIST} ConfigMaps"), clients, listed.await?);
    }
    Ok(())
}

/// Services when many exist.
async fn services(figures: &mut Vec<Figure>, connection: &Connection) -> Result<()> {
    fill(connection, "services", "services", SERVICES, service).await?;
    let kept = connection.clone();
    let more = load(16, MORE_SERVICES, move |number| {
        let connection = kept.clone();
        async move {
            let object = service(&format!("more-{number}"));
            connection.ask(Method::POST, "/api/v1/namespaces/services/services", object).await.map(drop)
        }
    });
    add(figures, "create Service", 16, more.await?);
    for (name, ..) in figures.iter_mut().filter(|(name, ..)| name.starts_with("create Service, 16 clients:")) {
        *name = name.replace("clients:", "clients, 10,000 exist:");
    }
    Ok(())
}

/// From a Service's creation until a watcher has its slice with five ready endpoints.
async fn slices(figures: &mut Vec<Figure>, client: &Client) -> Result<()> {
    let connection = client.connect().await?;
    for number in 0..5 {
        let name = format!("ready-{number}");
        connection.ask(Method::POST, "/api/v1/namespaces/slices/pods", pod(&name)).await?;
        let status = json!({"status": {
            "phase": "Running", "podIP": format!("10.244.7.{}", number + 1), "podIPs": [{"ip": format!("10.244.7.{}", number + 1)}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        let path = format!("/api/v1/namespaces/slices/pods/{name}/status");
        connection.ask(Method::PATCH, &path, status.to_string().into()).await?;
    }
    let path = "/apis/discovery.k8s.io/v1/namespaces/slices/endpointslices";
    let list: Value = serde_json::from_slice(&connection.ask(Method::GET, path, Bytes::new()).await?)?;
    let version = list["metadata"]["resourceVersion"].as_str().context("a list has a version")?;
    let watch = format!("{path}?watch=1&resourceVersion={version}");
    let mut events = connection.open(Method::GET, &watch, Bytes::new()).await?.into_body();
    let (mut times, mut text) = (Vec::new(), Vec::new());
    for number in 0..SLICES {
        let name = format!("slice-{number}");
        let object =
            json!({"metadata": {"name": name}, "spec": {"selector": {"app": "bench"}, "ports": [{"port": 80}]}});
        let begun = Instant::now();
        connection.ask(Method::POST, "/api/v1/namespaces/slices/services", object.to_string().into()).await?;
        let found = tokio::time::timeout(Duration::from_secs(10), async {
            loop {
                while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let event: Value = serde_json::from_slice(&text.drain(..=end).collect::<Vec<_>>())?;
                    let of = &event["object"]["metadata"]["labels"]["kubernetes.io/service-name"];
                    let ready = event["object"]["endpoints"].as_array().map_or(0, Vec::len);
                    if *of == name.as_str() && ready == 5 {
                        return Ok::<_, anyhow::Error>(begun.elapsed());
                    }
                }
                let frame = events.frame().await.context("the watch ended")??;
                text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            }
        });
        times.push(milliseconds(found.await.context("no slice")??));
    }
    figures.push(("Service to its EndpointSlice: p50".into(), quantile(&times, 0.5), "ms"));
    figures.push(("Service to its EndpointSlice: p99".into(), quantile(&times, 0.99), "ms"));
    Ok(())
}

async fn fill(
    connection: &Connection,
    namespace: &str,
    plural: &str,
    count: usize,
    object: fn(&str) -> Bytes,
) -> Result<()> {
    let (kept, path) = (connection.clone(), format!("/api/v1/namespaces/{namespace}/{plural}"));
    load(32, count, move |number| {
        let (connection, path) = (kept.clone(), path.clone());
        async move { connection.ask(Method::POST, &path, object(&format!("o{number}"))).await.map(drop) }
    })
    .await
    .map(drop)
}

/// So large that ten thousand are a list of 9.4 MB.
fn config_map(name: &str) -> Bytes {
    let data = "x".repeat(700);
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": data}})
        .to_string()
        .into()
}

fn changed(name: &str) -> Bytes {
    let data = "y".repeat(700);
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": data}})
        .to_string()
        .into()
}

/// Nobody's to schedule.
fn pod(name: &str) -> Bytes {
    let container = json!({"name": "web", "image": "example/web:v1", "resources": {"requests": {"cpu": "10m"}}});
    let spec = json!({"schedulerName": "nobody", "containers": [container]});
    let metadata = json!({"name": name, "labels": {"app": "bench"}});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}).to_string().into()
}

fn service(name: &str) -> Bytes {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}})
        .to_string()
        .into()
}
