//! The iptables mode, for `iptables-restore --noflush`.
//!
//! A rule in KUBE-SERVICES for each Service port, one after the other; a chain for each that chooses by probabilities; a chain for
//! each endpoint (pkg/proxy/iptables/proxier.go of Kubernetes 1.36). A change rewrites KUBE-SERVICES and the chains of what changed.

use std::fmt::Write as _;

use crate::services::{PODS, PORT, Service};

const HOOKS: &str = "\
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
";

/// The whole table.
pub fn ruleset(services: &[Service]) -> String {
    let mut text = String::from("*nat\n:KUBE-MARK-MASQ - [0:0]\n:KUBE-POSTROUTING - [0:0]\n");
    services.iter().for_each(|service| chains(&mut text, service));
    dispatch(&mut text, services);
    text += HOOKS;
    services.iter().for_each(|service| rules(&mut text, service));
    text + "COMMIT\n"
}

/// What kube-proxy writes when endpoints of one Service, which is among them, went or came.
pub fn change(services: &[Service], after: &Service) -> String {
    let mut text = String::from("*nat\n");
    chains(&mut text, after);
    dispatch(&mut text, services);
    rules(&mut text, after);
    text + "COMMIT\n"
}

/// Declaring a chain empties it.
fn chains(text: &mut String, Service { name, node_port, endpoints, .. }: &Service) {
    let _ = writeln!(text, ":KUBE-SVC-{name} - [0:0]");
    if node_port.is_some() {
        let _ = writeln!(text, ":KUBE-EXT-{name} - [0:0]");
    }
    for n in 0..endpoints.len() {
        let _ = writeln!(text, ":KUBE-SEP-{name}-{n} - [0:0]");
    }
}

fn dispatch(text: &mut String, services: &[Service]) {
    *text += ":KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n";
    for Service { name, ip, node_port, .. } in services {
        let _ = writeln!(
            text,
            "-A KUBE-SERVICES -m comment --comment \"default/{name} cluster IP\" -m tcp -p tcp -d {ip} --dport {PORT} -j KUBE-SVC-{name}"
        );
        if let Some(port) = node_port {
            let _ = writeln!(text, "-A KUBE-NODEPORTS -m tcp -p tcp --dport {port} -j KUBE-EXT-{name}");
        }
    }
    *text += "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n";
}

fn rules(text: &mut String, Service { name, ip, node_port, endpoints }: &Service) {
    if node_port.is_some() {
        let _ = writeln!(text, "-A KUBE-EXT-{name} -j KUBE-MARK-MASQ");
        let _ = writeln!(text, "-A KUBE-EXT-{name} -j KUBE-SVC-{name}");
    }
    let _ = writeln!(text, "-A KUBE-SVC-{name} -m tcp -p tcp -d {ip} --dport {PORT} ! -s {PODS} -j KUBE-MARK-MASQ");
    for (n, endpoint) in endpoints.iter().enumerate() {
        let left = endpoints.len() - n;
        #[allow(clippy::cast_precision_loss)]
        let chance = match left {
            1 => String::new(),
            _ => format!("-m statistic --mode random --probability {:.10} ", 1.0 / left as f64),
        };
        let _ = writeln!(text, "-A KUBE-SVC-{name} {chance}-j KUBE-SEP-{name}-{n}");
        let _ = writeln!(text, "-A KUBE-SEP-{name}-{n} -s {} -j KUBE-MARK-MASQ", endpoint.ip());
        let _ = writeln!(text, "-A KUBE-SEP-{name}-{n} -m tcp -p tcp -j DNAT --to-destination {endpoint}");
    }
}
