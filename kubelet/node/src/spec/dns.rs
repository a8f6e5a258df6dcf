//! The resolver configuration of a pod, by its `dnsPolicy` and `dnsConfig`. Pure.

use k8s_openapi::api::core::v1::Pod;
use orlop_cri::v1::DnsConfig;

use crate::pod;

/// What a `resolv.conf` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    pub nameservers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

impl ResolvConf {
    /// Reads the format of resolv.conf(5); the last `search` line holds.
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_whitespace();
            let keyword = words.next();
            let words = words.map(str::to_owned);
            match keyword {
                Some("nameserver") => conf.nameservers.extend(words.take(1)),
                Some("search" | "domain") => conf.searches = words.collect(),
                Some("options") => conf.options.extend(words),
                _ => {}
            }
        }
        conf
    }
}

/// The pod's resolver configuration. `None` leaves the runtime's default.
pub fn dns_config(pod: &Pod, node: &ResolvConf, cluster_dns: &[String], cluster_domain: &str) -> Option<DnsConfig> {
    let spec = pod::spec(pod);
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => !pod::is_host_network(pod),
        _ => false,
    };
    let mut dns = if policy == "None" {
        DnsConfig::default()
    } else if cluster && !cluster_dns.is_empty() {
        let mut searches = vec![
            format!("{}.svc.{cluster_domain}", pod::namespace(pod)),
            format!("svc.{cluster_domain}"),
            cluster_domain.to_owned(),
        ];
        searches.extend(node.searches.iter().cloned());
        DnsConfig { servers: cluster_dns.to_vec(), searches, options: vec!["ndots:5".into()] }
    } else {
        DnsConfig { servers: node.nameservers.clone(), searches: node.searches.clone(), options: node.options.clone() }
    };
    if let Some(own) = &spec.dns_config {
        append_new(&mut dns.servers, own.nameservers.iter().flatten());
        append_new(&mut dns.searches, own.searches.iter().flatten());
        for option in own.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            dns.options.retain(|present| present.split(':').next() != Some(name));
            dns.options.push(match &option.value {
                Some(value) if !value.is_empty() => format!("{name}:{value}"),
                _ => name.clone(),
            });
        }
    }
    Some(dns)
}

fn append_new<'a>(list: &mut Vec<String>, more: impl Iterator<Item = &'a String>) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({ "metadata": { "namespace": "shop" }, "spec": spec })).unwrap()
    }

    fn resolve(spec: serde_json::Value) -> DnsConfig {
        let node = ResolvConf::parse("# a node\nnameserver 192.0.2.1\nsearch lan\noptions edns0\n");
        dns_config(&pod(spec), &node, &["10.96.0.10".to_owned()], "cluster.local").unwrap()
    }

    #[test]
    fn a_pod_asks_the_cluster_first() {
        let dns = resolve(serde_json::json!({ "containers": [] }));
        assert_eq!(dns.servers, ["10.96.0.10"]);
        assert_eq!(dns.searches, ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan"]);
        assert_eq!(dns.options, ["ndots:5"]);
    }

    #[test]
    fn a_pod_in_the_nodes_network_asks_as_the_node_does_unless_it_says_so() {
        assert_eq!(resolve(serde_json::json!({ "containers": [], "hostNetwork": true })).servers, ["192.0.2.1"]);
        let dns = serde_json::json!({ "containers": [], "hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet" });
        assert_eq!(resolve(dns).servers, ["10.96.0.10"]);
    }

    #[test]
    fn the_pods_own_options_replace_those_of_the_same_name() {
        let own = serde_json::json!({ "nameservers": ["192.0.2.7"], "options": [{ "name": "ndots", "value": "2" }] });
        let dns = resolve(serde_json::json!({ "containers": [], "dnsConfig": own }));
        assert_eq!((dns.servers.len(), dns.options), (2, vec!["ndots:2".to_owned()]));
        let own = serde_json::json!({ "nameservers": ["192.0.2.7"] });
        let dns = resolve(serde_json::json!({ "containers": [], "dnsPolicy": "None", "dnsConfig": own }));
        assert_eq!((dns.servers, dns.searches), (vec!["192.0.2.7".to_owned()], vec![]));
    }
}
