//! Cluster DNS as a pod's libc sees it: what Kubernetes' own conformance tests of DNS assert, in both proxy modes, and that it goes on
//! while the API server is dead.

#![allow(missing_docs, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use orlop_conformance::{Cluster, Wanted, eventually};

const MANIFEST: &str = "
apiVersion: v1
kind: ReplicationController
metadata: {name: asks}
spec:
  replicas: 2
  selector: {app: asks}
  template:
    metadata: {labels: {app: asks}}
    spec:
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: asks}}}
      containers: [{name: web, image: 'localhost/orlop/web:v1', ports: [{name: http, containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: asks}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec:
  clusterIP: None
  selector: {app: asks}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: v1
kind: Pod
metadata: {name: named, labels: {app: named}}
spec:
  hostname: querier
  subdomain: team
  containers: [{name: web, image: 'localhost/orlop/web:v1'}]
---
apiVersion: v1
kind: Service
metadata: {name: team}
spec:
  clusterIP: None
  selector: {app: named}
  ports: [{name: http, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: foo.example.com}
---
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: web.default.svc.cluster.local}
";

#[test]
fn nftables_pods_find_names() {
    names(Wanted { name: "dns-n", nodes: 2, proxy_mode: "nftables", overlay: "vxlan", publish: None });
}

#[test]
fn ebpf_pods_find_names() {
    names(Wanted { name: "dns-e", nodes: 2, proxy_mode: "ebpf", overlay: "vxlan", publish: None });
}

/// A pod that asks.
struct Asker<'a> {
    cluster: &'a Cluster,
    ip: String,
}

impl Asker<'_> {
    /// What the pod's resolver finds: sorted lines, or one that says why there are none.
    fn ask(&self, kind: &str, name: &str, more: &str) -> Vec<String> {
        let url = format!("http://{}:8080/resolve?type={kind}&name={name}{more}", self.ip);
        let text = self.cluster.on_node(1, &["curl", "-s", "-m", "15", &url]).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    fn finds(&self, kind: &str, name: &str, wanted: &[String]) {
        // A Service made a moment ago may not be everywhere yet.
        let last = std::cell::RefCell::new(Vec::new());
        let found = eventually(&format!("{kind} {name}"), Duration::from_secs(5), || {
            *last.borrow_mut() = self.ask(kind, name, "");
            Ok((*last.borrow() == wanted).then_some(()))
        });
        assert!(found.is_ok(), "{kind} {name}: {:?}, not {wanted:?}", last.borrow());
        assert_eq!(self.ask(kind, name, "&tcp=1"), wanted, "{kind} {name} over TCP");
    }
}

fn names(wanted: Wanted) {
    let mut cluster = Cluster::up(wanted).unwrap();
    cluster.kubectl_with(&["create"], MANIFEST).unwrap();
    let pods = cluster.ready_pods("asks", 2).unwrap();
    let named = cluster.ready_pods("named", 1).unwrap().0.remove(0);
    cluster.endpoints("headless", &pods).unwrap();
    the_service_is_kubernetes_own(&cluster);
    let address = cluster.cluster_ip("web").unwrap().to_string();
    for pod in &pods.0 {
        // One on each node.
        let asker = Asker { cluster: &cluster, ip: pod.ip.clone() };
        let one = |kind: &str, value: &str| vec![format!("{kind} {value}")];
        for name in ["kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"] {
            asker.finds("A", name, &one("A", "10.96.0.1"));
        }
        for name in
            ["web", "web.default", "web.default.svc", "_http._tcp.web.default.svc", "WEB.Default.svc.cluster.local."]
        {
            asker.finds("A", name, &one("A", &address));
        }
        let mut both: Vec<String> = pods.0.iter().map(|pod| format!("A {}", pod.ip)).collect();
        both.sort();
        asker.finds("A", "headless", &both);
        asker.finds("A", "_http._tcp.headless.default.svc", &both);
        asker.finds("SRV", "_http._tcp.web.default.svc", &one("SRV", "0 100 80 web.default.svc.cluster.local."));
        let mut targets: Vec<String> = pods.0.iter().map(|pod| target(&pod.ip)).collect();
        targets.sort();
        asker.finds("SRV", "_http._tcp.headless", &targets);
        asker.finds("PTR", &reversed(&address), &one("PTR", "web.default.svc.cluster.local."));
        asker.finds("A", "querier.team", &one("A", &named.ip));
        asker.finds("PTR", &reversed(&named.ip), &one("PTR", "querier.team.default.svc.cluster.local."));
        asker.finds("A", &format!("{}.default.pod", named.ip.replace('.', "-")), &one("A", &named.ip));
        asker.finds("CNAME", "outside.default.svc.cluster.local", &one("CNAME", "foo.example.com."));
        asker.finds("A", "alias", &[format!("A {address}"), "CNAME web.default.svc.cluster.local.".into()]);
        asker.finds("TXT", "dns-version.cluster.local", &one("TXT", "1.1.0"));
        assert_eq!(asker.ask("A", "absent.default.svc.cluster.local.", ""), ["NXDOMAIN"]);
        assert_eq!(asker.ask("AAAA", "web.default.svc.cluster.local.", ""), ["NODATA"]);
    }
    the_environment_agrees(&cluster, &pods.0[0].ip);
    an_external_name_becomes_a_service(&cluster, &pods.0[0].ip);
    let hosts = cluster.kubectl(&["exec", "named", "--", "/orlop-web", "resolve", "A", "web"]).unwrap();
    assert_eq!(hosts.trim(), format!("A {address}"), "with the pod's own /etc/resolv.conf");
    it_goes_on_while_the_server_is_dead(&mut cluster, &pods.0[1].ip, &address);
}

/// Service variables and names lead to the same place; the kubelet writes the server and the search list.
fn the_environment_agrees(cluster: &Cluster, ip: &str) {
    let get = |path: &str| cluster.on_node(1, &["curl", "-s", "-m", "5", &format!("http://{ip}:8080{path}")]).unwrap();
    let environment = get("/env");
    let host = environment.lines().find_map(|line| line.strip_prefix("KUBERNETES_SERVICE_HOST="));
    assert_eq!(host, Some("10.96.0.1"), "{environment}");
    let conf = get("/file?path=/etc/resolv.conf");
    for line in ["nameserver 10.96.0.10", "options ndots:5"] {
        assert!(conf.contains(line), "{line} is missing in\n{conf}");
    }
    let search = "search default.svc.cluster.local svc.cluster.local cluster.local";
    assert!(conf.lines().any(|line| line.starts_with(search)), "{conf}");
}

fn target(ip: &str) -> String {
    format!("SRV 0 50 8080 {}.headless.default.svc.cluster.local.", ip.replace('.', "-"))
}

fn reversed(ip: &str) -> String {
    let numbers: Vec<&str> = ip.split('.').rev().collect();
    format!("{}.in-addr.arpa.", numbers.join("."))
}

fn the_service_is_kubernetes_own(cluster: &Cluster) {
    let path = "jsonpath={.spec.clusterIP} {.metadata.labels.k8s-app} {.spec.ports[*].name}";
    let service = cluster.kubectl(&["-n", "kube-system", "get", "service", "kube-dns", "-o", path]).unwrap();
    assert_eq!(service, "10.96.0.10 kube-dns dns dns-tcp metrics");
    let selector = "kubernetes.io/service-name=kube-dns";
    let path = "jsonpath={.items[*].endpoints[*].hints.forNodes[*].name}";
    let nodes = cluster.kubectl(&["-n", "kube-system", "get", "endpointslices", "-l", selector, "-o", path]).unwrap();
    let mut nodes: Vec<&str> = nodes.split_whitespace().collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["node1", "node2"]);
}

/// Kubernetes' test of ExternalName: another name, then an address of its own.
fn an_external_name_becomes_a_service(cluster: &Cluster, ip: &str) {
    let asker = Asker { cluster, ip: ip.to_owned() };
    let name = "outside.default.svc.cluster.local.";
    let patch = |patch: &str| cluster.kubectl(&["patch", "service", "outside", "-p", patch]).unwrap();
    patch(r#"{"spec": {"externalName": "bar.example.com"}}"#);
    asker.finds("CNAME", name, &["CNAME bar.example.com.".into()]);
    patch(r#"{"spec": {"type": "ClusterIP", "externalName": null, "ports": [{"port": 80, "name": "http"}]}}"#);
    let address = cluster.cluster_ip("outside").unwrap();
    asker.finds("A", name, &[format!("A {address}")]);
}

fn it_goes_on_while_the_server_is_dead(cluster: &mut Cluster, ip: &str, address: &str) {
    let group = format!("/run/orlop/{0}/cgroup/orlop-{0}/node1/server/cgroup.kill", cluster.name());
    std::fs::write(group, "1").unwrap();
    let killed = Instant::now();
    let asker = Asker { cluster, ip: ip.to_owned() };
    while killed.elapsed() < Duration::from_secs(10) {
        for tcp in ["", "&tcp=1"] {
            let found = asker.ask("A", "web", tcp);
            assert_eq!(found, [format!("A {address}")], "{:?} after the server died", killed.elapsed());
        }
        assert_eq!(asker.ask("A", "absent.default.svc.cluster.local.", ""), ["NXDOMAIN"]);
    }
    cluster.again().unwrap();
    let asker = Asker { cluster, ip: ip.to_owned() };
    asker.finds("A", "web", &[format!("A {address}")]);
}
