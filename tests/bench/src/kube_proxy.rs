//! The baseline: kube-proxy's nftables shape for the same Services, written for the `nft` program, which kube-proxy itself calls.
//!
//! A chain for each Service port that chooses among its endpoints by an anonymous verdict map of random numbers, a chain for each
//! endpoint with its masquerade and its dnat, and one verdict map from address, protocol and port to the Service's chain
//! (pkg/proxy/nftables/proxier.go of Kubernetes 1.36).

use std::fmt::Write as _;

use crate::proxy::{endpoint_ip, service_ip};

/// Endpoints of each Service.
pub const ENDPOINTS: u32 = 5;

/// The whole ruleset.
pub fn ruleset(services: u32) -> String {
    let mut text = String::from(
        "add table ip kube-proxy\n\
         add chain ip kube-proxy mark-for-masquerade\n\
         add rule ip kube-proxy mark-for-masquerade meta mark set meta mark or 0x4000\n\
         add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }\n\
         add chain ip kube-proxy services\n\
         add chain ip kube-proxy nat-output { type nat hook output priority -100 ; }\n\
         add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority dstnat ; }\n",
    );
    for service in 1..=services {
        chains(&mut text, service, ENDPOINTS);
    }
    text += "add rule ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips\n\
             add rule ip kube-proxy nat-output jump services\n\
             add rule ip kube-proxy nat-prerouting jump services\n";
    for service in 1..=services {
        let ip = service_ip(service);
        let _ = writeln!(
            text,
            "add element ip kube-proxy service-ips {{ {ip} . tcp . 80 comment \"default/s{service}\" : goto service-s{service} }}"
        );
    }
    text
}

/// What kube-proxy writes when one endpoint of a Service went or came: that Service's chain anew, and the endpoint's.
pub fn change(service: u32, endpoints: u32) -> String {
    let mut text =
        format!("add chain ip kube-proxy service-s{service}\nflush chain ip kube-proxy service-s{service}\n");
    for n in 0..ENDPOINTS {
        let _ = writeln!(text, "add chain ip kube-proxy endpoint-s{service}-{n}");
        let _ = writeln!(text, "flush chain ip kube-proxy endpoint-s{service}-{n}");
    }
    rules(&mut text, service, endpoints);
    text
}

fn chains(text: &mut String, service: u32, endpoints: u32) {
    let _ = writeln!(text, "add chain ip kube-proxy service-s{service}");
    for n in 0..endpoints {
        let _ = writeln!(text, "add chain ip kube-proxy endpoint-s{service}-{n}");
    }
    rules(text, service, endpoints);
}

fn rules(text: &mut String, service: u32, endpoints: u32) {
    let ip = service_ip(service);
    let _ = writeln!(
        text,
        "add rule ip kube-proxy service-s{service} ip daddr {ip} tcp dport 80 ip saddr != 10.128.0.0/9 jump mark-for-masquerade"
    );
    let targets: Vec<String> = (0..endpoints).map(|n| format!("{n} : goto endpoint-s{service}-{n}")).collect();
    let _ = writeln!(
        text,
        "add rule ip kube-proxy service-s{service} numgen random mod {endpoints} vmap {{ {} }}",
        targets.join(" , ")
    );
    for n in 0..endpoints {
        let endpoint = endpoint_ip(service, n);
        let chain = format!("add rule ip kube-proxy endpoint-s{service}-{n}");
        let _ = writeln!(text, "{chain} ip saddr {endpoint} jump mark-for-masquerade");
        let _ = writeln!(text, "{chain} meta l4proto tcp dnat to {endpoint}:8080");
    }
}
