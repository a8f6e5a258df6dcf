//! Configurations as people have them.

use std::time::Duration;

use ipnet::IpNet;
use orlop_plan::DetectLocal;
use serde_json::{Value, json};

use super::KubeProxyConfiguration;
use crate::{DetectLocalMode, Mode, NodePortAddressPolicy};

/// What kubeadm writes into the ConfigMap `kube-proxy`.
const KUBEADM: &str = r#"
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
    text:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
"#;

fn of(fields: Value) -> KubeProxyConfiguration {
    KubeProxyConfiguration::of(fields).expect("fields of the right types")
}

#[test]
fn kubeadms_configuration_is_read_whole_and_nothing_of_it_is_unsupported() {
    let (read, unknown) = KubeProxyConfiguration::read(KUBEADM).expect("it is valid");
    assert!(unknown.is_empty() && read.validate().is_empty() && read.unsupported().is_empty());
    assert_eq!(read.kubeconfig(), "/var/lib/kube-proxy/kubeconfig.conf");
    assert_eq!(
        (read.healthz_bind_address.as_str(), read.metrics_bind_address.as_str()),
        ("0.0.0.0:10256", "127.0.0.1:10249")
    );
    assert_eq!(read.conntrack.tcp_established_timeout.map(|t| t.to_string()).as_deref(), Some("24h0m0s"));
    assert_eq!((read.conntrack.max_per_core, read.oom_score_adj), (Some(32768), Some(-999)));
    assert_eq!(read.wanted_mode(), Mode::Ebpf);
    let cidrs = vec!["10.244.0.0/16".parse().expect("a CIDR")];
    assert_eq!(read.detect_local(), DetectLocalMode::Known(DetectLocal::Cidrs(cidrs)));
}

#[test]
fn what_is_written_is_read_back() {
    let written = KubeProxyConfiguration::with_defaults().to_yaml().expect("YAML");
    assert!(written.contains("tcpCloseWaitTimeout: 1h0m0s") && written.contains("clusterCIDR:"), "{written}");
    let (read, unknown) = KubeProxyConfiguration::read(&written).expect("it is valid");
    assert_eq!((read, unknown), (KubeProxyConfiguration::with_defaults(), vec![]));
}

#[test]
fn unknown_fields_are_named_and_survived_and_other_kinds_refused() {
    let text = "kind: KubeProxyConfiguration\napiVersion: kubeproxy.config.k8s.io/v1alpha1\n\
                iptables: {masqueradeall: true}\nfeatureGates: {Any: true}\nresourceContainer: x\n";
    let (_, unknown) = KubeProxyConfiguration::read(text).expect("lenient");
    assert_eq!(unknown, ["unknown field \"iptables.masqueradeall\"", "unknown field \"resourceContainer\""]);
    let error = KubeProxyConfiguration::read("kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1");
    let error = error.expect_err("another kind").to_string();
    assert_eq!(
        error,
        r#"failed to decode: no kind "KubeletConfiguration" is registered for version "kubelet.config.k8s.io/v1beta1""#
    );
    assert!(KubeProxyConfiguration::read(&text.replace("x", "[")).is_err());
    assert!(KubeProxyConfiguration::read(&format!("{text}oomScoreAdj: much\n")).is_err());
}

#[test]
fn mistakes_are_told_in_kube_proxys_words() {
    for (fields, error) in [
        (
            json!({"bindAddress": "10.10.12.11:2000"}),
            r#"BindAddress: Invalid value: "10.10.12.11:2000": not a valid textual representation of an IP address"#,
        ),
        (json!({"healthzBindAddress": "0.0.0.0:x"}), r#"HealthzBindAddress: Invalid value: "x": must be a valid port"#),
        (json!({"healthzBindAddress": "0.0.0.0"}), ""),
        (json!({"metricsBindAddress": "here"}), r#"MetricsBindAddress: Invalid value: "here": must be IP:port"#),
        (
            json!({"metricsBindAddress": "[::1]:70000"}),
            r#"MetricsBindAddress: Invalid value: "70000": must be a valid port"#,
        ),
        (
            json!({"clusterCIDR": "192.168.59.0"}),
            r#"DetectLocalConfiguration.ClusterCIDRs[0]: Invalid value: "192.168.59.0": must be a valid CIDR block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48)"#,
        ),
        (json!({"clusterCIDR": "192.168.59.0/24,fd00:192:168::/64"}), ""),
        (
            json!({"clusterCIDR": "10.0.0.0/8,11.0.0.0/8"}),
            r#"DetectLocalConfiguration.ClusterCIDRs: Invalid value: []string{"10.0.0.0/8", "11.0.0.0/8"}: must be a either a single CIDR or dual-stack pair of CIDRs (e.g. [10.100.0.0/16, fde4:8dba:82e1::/48]"#,
        ),
        (json!({"clusterCIDR": "nonsense", "detectLocalMode": "NodeCIDR"}), ""),
        (json!({"configSyncPeriod": "-1s"}), "ConfigSyncPeriod: Invalid value: -1s: must be greater than 0"),
        (
            json!({"mode": "nftables", "nftables": {"syncPeriod": "1s", "minSyncPeriod": "5s"}}),
            "SyncPeriod: Invalid value: 5s: must be greater than or equal to KubeProxyConfiguration.MinSyncPeriod",
        ),
        (json!({"mode": "ipvs", "nftables": {"syncPeriod": "1s", "minSyncPeriod": "5s"}}), ""),
        (
            json!({"mode": "userspace"}),
            r#"Mode.ProxyMode: Invalid value: "userspace": must be ebpf, iptables, ipvs, nftables or blank (blank means the best-available proxy [currently ebpf])"#,
        ),
        (
            json!({"detectLocalMode": "Guess"}),
            r#"DetectLocalMode: Unsupported value: "Guess": supported values: "ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix", """#,
        ),
        (
            json!({"detectLocalMode": "BridgeInterface"}),
            r#"DetectLocalConfiguration.InterfaceName: Invalid value: "": must not be empty"#,
        ),
        (
            json!({"detectLocalMode": "InterfaceNamePrefix"}),
            r#"DetectLocalConfiguration.InterfacePrefix: Invalid value: "": must not be empty"#,
        ),
        (
            json!({"iptables": {"masqueradeBit": 32}}),
            "KubeProxyIPTablesConfiguration.MasqueradeBit: Invalid value: 32: must be within the range [0, 31]",
        ),
        (
            json!({"oomScoreAdj": 1001}),
            "KubeProxyLinuxConfiguration.OOMScoreAdj: Invalid value: 1001: must be within the range [-1000, 1000]",
        ),
        (
            json!({"conntrack": {"min": -1}}),
            "KubeProxyLinuxConfiguration.KubeProxyConntrackConfiguration.Min: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            json!({"conntrack": {"udpTimeout": "-5s"}}),
            "KubeProxyLinuxConfiguration.KubeProxyConntrackConfiguration.UDPTimeout: Invalid value: -5s: must be greater than or equal to 0",
        ),
        (
            json!({"nodePortAddresses": ["127.0.0.0/8", "primary"]}),
            r#"NodePortAddresses[1]: Invalid value: "primary": can't use both 'primary' and CIDRs"#,
        ),
        (
            json!({"nodePortAddresses": ["127.0.0"]}),
            r#"NodePortAddresses[0]: Invalid value: "127.0.0": must be a valid CIDR"#,
        ),
    ] {
        let told = of(fields.clone()).validate();
        let expected: Vec<String> =
            Some(error).filter(|e| !e.is_empty()).map(|e| format!("KubeProxyConfiguration.{e}")).into_iter().collect();
        assert_eq!(told, expected, "{fields}");
    }
}

#[test]
fn what_does_nothing_here_is_reported_one_line_each() {
    let set = of(json!({
        "mode": "ipvs", "ipvs": {"scheduler": "lc"}, "enableProfiling": true,
        "featureGates": {"AllowServiceExternalIPs": false, "Other": true}, "clientConnection": {"qps": 50},
        "logging": {"format": "json", "verbosity": 2},
    }));
    let lines = set.unsupported();
    let named = ["mode: ipvs", "ipvs", "enableProfiling", "clientConnection.qps", "logging", "featureGates.Other"];
    assert_eq!(lines.len(), named.len(), "{lines:#?}");
    for (line, field) in lines.iter().zip(named) {
        assert!(line.starts_with(field), "{line}");
    }
}

#[test]
fn node_ports_answer_where_kube_proxys_mode_would_have_them() {
    let everything: Vec<IpNet> = ["0.0.0.0/0", "::/0"].map(|c| c.parse().expect("a CIDR")).into();
    let loopback = ["127.0.0.0/8", "::1/128"].map(|c| c.parse().expect("a CIDR"));
    let with_loopback: Vec<IpNet> = everything.iter().copied().chain(loopback).collect();
    for (fields, policy) in [
        (json!({"mode": "nftables"}), NodePortAddressPolicy::Primary),
        (json!({"mode": "iptables"}), NodePortAddressPolicy::Cidrs(everything.clone())),
        (json!({}), NodePortAddressPolicy::Cidrs(with_loopback)),
        (json!({"iptables": {"localhostNodePorts": false}}), NodePortAddressPolicy::Cidrs(everything)),
        (json!({"nodePortAddresses": ["primary"]}), NodePortAddressPolicy::Primary),
        (json!({"nodePortAddresses": ["127.0.0.0/8"]}), NodePortAddressPolicy::Cidrs(vec![loopback[0]])),
    ] {
        assert_eq!(of(fields.clone()).node_port_addresses(), policy, "{fields}");
    }
}

#[test]
fn periods_and_masquerading_are_those_of_the_mode() {
    let set = of(json!({
        "iptables": {"masqueradeAll": true, "masqueradeBit": 15, "minSyncPeriod": "2s"}, "nftables": {"syncPeriod": "7s"},
    }));
    let settings = set.mode_settings();
    assert_eq!(settings.masquerade_bit, 15);
    assert!(settings.masquerade_all);
    assert_eq!(settings.min_sync_period.duration(), Some(Duration::from_secs(2)));
    let set = of(json!({"mode": "ebpf", "iptables": {"masqueradeAll": true}, "nftables": {"syncPeriod": "7s"}}));
    let settings = set.mode_settings();
    assert!(!settings.masquerade_all);
    assert_eq!(settings.masquerade_bit, 14);
    assert_eq!(of(json!({"mode": "nftables", "nftables": {"masqueradeBit": 3}})).mode_settings().masquerade_bit, 3);
    assert_eq!(settings.sync_period.duration(), Some(Duration::from_secs(7)));
    assert_eq!(settings.min_sync_period.duration(), Some(Duration::from_millis(10)));
}
