//! The nftables mode.
//!
//! A chain for each Service port that chooses among its endpoints by an anonymous verdict map of random numbers, a chain for each
//! endpoint with its masquerade and its dnat, and verdict maps from address, protocol and port to the Service's chain
//! (pkg/proxy/nftables/proxier.go of Kubernetes 1.36).

use std::fmt::Write as _;

use crate::services::{PODS, PORT, Service};

const SKELETON: &str = "\
add table ip kube-proxy
add chain ip kube-proxy mark-for-masquerade
add rule ip kube-proxy mark-for-masquerade meta mark set meta mark or 0x4000
add chain ip kube-proxy masquerading { type nat hook postrouting priority srcnat ; }
add rule ip kube-proxy masquerading meta mark and 0x4000 == 0 return
add rule ip kube-proxy masquerading meta mark set meta mark xor 0x4000
add rule ip kube-proxy masquerading masquerade fully-random
add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }
add map ip kube-proxy service-nodeports { type inet_proto . inet_service : verdict ; }
add chain ip kube-proxy services
add chain ip kube-proxy nat-output { type nat hook output priority -100 ; }
add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority dstnat ; }
";

const DISPATCH: &str = "\
add rule ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips
add rule ip kube-proxy services fib daddr type local meta l4proto . th dport vmap @service-nodeports
add rule ip kube-proxy nat-output jump services
add rule ip kube-proxy nat-prerouting jump services
";

/// The whole ruleset.
pub fn ruleset(services: &[Service]) -> String {
    let mut text = String::from(SKELETON);
    for service in services {
        chains(&mut text, service);
        rules(&mut text, service);
    }
    text += DISPATCH;
    for Service { name, ip, node_port, .. } in services {
        let _ = writeln!(
            text,
            "add element ip kube-proxy service-ips {{ {ip} . tcp . {PORT} comment \"default/{name}\" : goto service-{name} }}"
        );
        if let Some(port) = node_port {
            let _ = writeln!(text, "add chain ip kube-proxy external-{name}");
            let _ = writeln!(text, "add rule ip kube-proxy external-{name} jump mark-for-masquerade");
            let _ = writeln!(text, "add rule ip kube-proxy external-{name} goto service-{name}");
            let _ =
                writeln!(text, "add element ip kube-proxy service-nodeports {{ tcp . {port} : goto external-{name} }}");
        }
    }
    text
}

/// What kube-proxy writes when endpoints of a Service went or came: that Service's chain anew, and the endpoints'.
pub fn change(before: &Service, after: &Service) -> String {
    let mut text = String::new();
    chains(&mut text, before);
    chains(&mut text, after);
    let _ = writeln!(text, "flush chain ip kube-proxy service-{}", after.name);
    for n in 0..before.endpoints.len().max(after.endpoints.len()) {
        let _ = writeln!(text, "flush chain ip kube-proxy endpoint-{}-{n}", after.name);
    }
    rules(&mut text, after);
    text
}

fn chains(text: &mut String, service: &Service) {
    let _ = writeln!(text, "add chain ip kube-proxy service-{}", service.name);
    for n in 0..service.endpoints.len() {
        let _ = writeln!(text, "add chain ip kube-proxy endpoint-{}-{n}", service.name);
    }
}

fn rules(text: &mut String, Service { name, ip, endpoints, .. }: &Service) {
    let _ = writeln!(
        text,
        "add rule ip kube-proxy service-{name} ip daddr {ip} tcp dport {PORT} ip saddr != {PODS} jump mark-for-masquerade"
    );
    let targets: Vec<String> = (0..endpoints.len()).map(|n| format!("{n} : goto endpoint-{name}-{n}")).collect();
    let _ = writeln!(
        text,
        "add rule ip kube-proxy service-{name} numgen random mod {} vmap {{ {} }}",
        endpoints.len(),
        targets.join(" , ")
    );
    for (n, endpoint) in endpoints.iter().enumerate() {
        let chain = format!("add rule ip kube-proxy endpoint-{name}-{n}");
        let _ = writeln!(text, "{chain} ip saddr {} jump mark-for-masquerade", endpoint.ip());
        let _ = writeln!(text, "{chain} meta l4proto tcp dnat to {endpoint}");
    }
}
