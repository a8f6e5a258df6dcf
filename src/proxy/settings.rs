//! kube-proxy's flags that stand for fields of `KubeProxyConfiguration`: a table, so that each has its field's name and
//! nothing else. Without `--config` they are the configuration; with it they are ignored, as kube-proxy ignores them.

use std::collections::BTreeMap;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use orlop_proxy::KubeProxyConfiguration;
use serde_json::{Map, Value, json};

/// How a flag's text becomes a field's value.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// `--flag` and `--flag=false`.
    Switch,
    Number,
    /// Separated by commas.
    List,
    /// `A=true,B=false`.
    Gates,
    /// Taken and not looked at.
    Ignored,
}

use Kind::{Gates, Ignored, List, Number, Switch, Text};

/// Name, the fields it sets (separated by blanks), kind, help.
const FLAGS: &[(&str, &str, Kind, &str)] = &[
    ("kubeconfig", "clientConnection.kubeconfig", Text, "Path to the kubeconfig file with authorization information"),
    ("kube-api-content-type", "clientConnection.contentType", Text, "Content type of requests sent to apiserver"),
    ("kube-api-burst", "clientConnection.burst", Number, "Burst to use while talking with kubernetes apiserver"),
    ("kube-api-qps", "clientConnection.qps", Number, "QPS to use while talking with kubernetes apiserver"),
    ("feature-gates", "featureGates", Gates, "A set of key=value pairs that describe feature gates"),
    ("bind-address", "bindAddress", Text, "Overrides the idea of what the node's primary IP is"),
    ("healthz-bind-address", "healthzBindAddress", Text, "Where to serve health; empty to disable"),
    ("metrics-bind-address", "metricsBindAddress", Text, "Where to serve metrics; empty to disable"),
    ("bind-address-hard-fail", "bindAddressHardFail", Switch, "Treat failure to bind to a port as fatal and exit"),
    ("profiling", "enableProfiling", Switch, "Enables profiling via web interface on /debug/pprof handler"),
    (
        "show-hidden-metrics-for-version",
        "showHiddenMetricsForVersion",
        Text,
        "The previous version whose hidden metrics to show",
    ),
    ("proxy-mode", "mode", Text, "ebpf (default), or nftables; iptables and ipvs are served by nftables"),
    ("iptables-masquerade-bit", "iptables.masqueradeBit", Number, "The bit of the mark that says masquerade"),
    (
        "masquerade-all",
        "iptables.masqueradeAll nftables.masqueradeAll",
        Switch,
        "SNAT all traffic sent via Service cluster IPs",
    ),
    ("iptables-localhost-nodeports", "iptables.localhostNodePorts", Switch, "NodePorts on loopback addresses"),
    (
        "iptables-sync-period",
        "iptables.syncPeriod nftables.syncPeriod",
        Text,
        "How often the kernel is compared with the plan",
    ),
    (
        "iptables-min-sync-period",
        "iptables.minSyncPeriod nftables.minSyncPeriod",
        Text,
        "Changes this close together are programmed together",
    ),
    ("ipvs-sync-period", "ipvs.syncPeriod", Text, "Likewise in mode ipvs"),
    ("ipvs-min-sync-period", "ipvs.minSyncPeriod", Text, "Likewise in mode ipvs"),
    ("ipvs-scheduler", "ipvs.scheduler", Text, "Not supported"),
    ("ipvs-exclude-cidrs", "ipvs.excludeCIDRs", List, "Not supported"),
    ("ipvs-strict-arp", "ipvs.strictARP", Switch, "Not supported"),
    ("ipvs-tcp-timeout", "ipvs.tcpTimeout", Text, "Not supported"),
    ("ipvs-tcpfin-timeout", "ipvs.tcpFinTimeout", Text, "Not supported"),
    ("ipvs-udp-timeout", "ipvs.udpTimeout", Text, "Not supported"),
    ("detect-local-mode", "detectLocalMode", Text, "ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix"),
    ("pod-bridge-interface", "detectLocal.bridgeInterface", Text, "The bridge that pods' traffic comes from"),
    ("pod-interface-name-prefix", "detectLocal.interfaceNamePrefix", Text, "How names of pods' devices begin"),
    ("cluster-cidr", "clusterCIDR", Text, "The CIDR range of the pods in the cluster, or a pair of both families"),
    ("nodeport-addresses", "nodePortAddresses", List, "CIDR ranges that contain valid node IPs, or 'primary'"),
    ("oom-score-adj", "oomScoreAdj", Number, "The oom-score-adj value of this process"),
    (
        "conntrack-max-per-core",
        "conntrack.maxPerCore",
        Number,
        "Maximum number of NAT connections to track per CPU core",
    ),
    ("conntrack-min", "conntrack.min", Number, "Minimum number of conntrack entries to allocate"),
    (
        "conntrack-tcp-timeout-established",
        "conntrack.tcpEstablishedTimeout",
        Text,
        "Idle timeout for established TCP connections",
    ),
    (
        "conntrack-tcp-timeout-close-wait",
        "conntrack.tcpCloseWaitTimeout",
        Text,
        "NAT timeout for TCP connections in the CLOSE_WAIT state",
    ),
    ("conntrack-tcp-be-liberal", "conntrack.tcpBeLiberal", Switch, "Sets nf_conntrack_tcp_be_liberal to 1"),
    ("conntrack-udp-timeout", "conntrack.udpTimeout", Text, "Idle timeout for UNREPLIED UDP connections"),
    ("conntrack-udp-timeout-stream", "conntrack.udpStreamTimeout", Text, "Idle timeout for ASSURED UDP connections"),
    ("config-sync-period", "configSyncPeriod", Text, "How often configuration from the apiserver is refreshed"),
    ("logging-format", "logging.format", Text, "Not supported: ORLOP_LOG says what is logged"),
    ("vmodule", "", Ignored, "Not supported: ORLOP_LOG says what is logged"),
    ("log-flush-frequency", "", Ignored, "Not supported: every line is written at once"),
];

/// What the flags say, as fields of a configuration.
pub struct Settings {
    /// Those fields.
    pub fields: Value,
}

impl Settings {
    /// Every flag with the value it has, as Go writes it: what was given, or the default.
    pub fn shown(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let all = serde_json::to_value(KubeProxyConfiguration::of(self.fields.clone())?)?;
        let named = FLAGS.iter().filter(|(_, paths, ..)| !paths.is_empty());
        Ok(named.map(|(name, paths, kind, _)| ((*name).to_owned(), shown(get(&all, paths), *kind))).collect())
    }

    /// Whether a text field was given, and empty.
    pub fn is_empty(&self, field: &str) -> bool {
        self.fields[field] == ""
    }
}

impl Args for Settings {
    fn augment_args(command: Command) -> Command {
        let arg = |(name, _, kind, help): &(&'static str, &str, Kind, &'static str)| {
            let arg = Arg::new(*name).long(*name).help(*help).action(ArgAction::Set).allow_hyphen_values(true);
            match kind {
                Switch => arg
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true")
                    .value_parser(ValueParser::bool()),
                _ => arg,
            }
        };
        let verbosity =
            Arg::new("v").short('v').long("v").help("Number for the log level verbosity").action(ArgAction::Set);
        command.args(FLAGS.iter().map(arg)).arg(verbosity.value_parser(clap::value_parser!(u32)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut settings = Self { fields: json!({}) };
        settings.update_from_arg_matches(matches)?;
        Ok(settings)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        for (name, paths, kind, _) in FLAGS {
            let value = match kind {
                Switch => matches.get_one::<bool>(name).map(|on| Ok(json!(on))),
                Ignored => None,
                kind => matches.get_one::<String>(name).map(|text| value(*kind, text)),
            };
            let Some(value) = value else { continue };
            let value =
                value.map_err(|why| Error::raw(clap::error::ErrorKind::InvalidValue, format!("--{name}: {why}\n")))?;
            for path in paths.split_whitespace() {
                put(&mut self.fields, path, value.clone());
            }
        }
        Ok(())
    }
}

fn value(kind: Kind, text: &str) -> Result<Value, String> {
    match kind {
        Number => match text.parse::<i64>() {
            Ok(whole) => Ok(json!(whole)),
            Err(_) => text.parse::<f64>().map(|number| json!(number)).map_err(|_| format!("{text:?} is no number")),
        },
        List => Ok(json!(text.split(',').filter(|item| !item.is_empty()).collect::<Vec<_>>())),
        Gates => text
            .split(',')
            .filter(|item| !item.is_empty())
            .map(gate)
            .collect::<Result<Map<_, _>, _>>()
            .map(Value::Object),
        Text | Switch | Ignored => Ok(json!(text)),
    }
}

fn gate(text: &str) -> Result<(String, Value), String> {
    let parsed =
        text.split_once('=').and_then(|(name, on)| Some((name.trim().into(), on.trim().parse::<bool>().ok()?.into())));
    parsed.ok_or_else(|| format!("{text:?}: write it as Gate=true"))
}

/// The value of the first of some fields.
fn get<'a>(fields: &'a Value, paths: &str) -> &'a Value {
    paths.split_whitespace().next().unwrap_or_default().split('.').fold(fields, |value, name| &value[name])
}

fn shown(value: &Value, kind: Kind) -> String {
    match (value, kind) {
        (Value::String(text), _) => text.clone(),
        (Value::Array(all), _) => format!("[{}]", all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")),
        (Value::Object(gates), _) => {
            gates.iter().map(|(gate, on)| format!("{gate}={on}")).collect::<Vec<_>>().join(",")
        }
        (Value::Null, List) => "[]".into(),
        (Value::Null, _) => String::new(),
        (other, _) => other.to_string(),
    }
}

fn put(fields: &mut Value, path: &str, value: Value) {
    match path.split_once('.') {
        Some((outer, rest)) => {
            if !fields[outer].is_object() {
                fields[outer] = json!({});
            }
            put(&mut fields[outer], rest, value);
        }
        None => fields[path] = value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(flags: &[&str]) -> Result<Value, Error> {
        let command = Settings::augment_args(Command::new("proxy"));
        let matches = command.try_get_matches_from([&["proxy"], flags].concat())?;
        Settings::from_arg_matches(&matches).map(|settings| settings.fields)
    }

    #[test]
    fn flags_become_fields_of_a_configuration() {
        let flags = [
            "--proxy-mode=nftables",
            "--masquerade-all",
            "--iptables-localhost-nodeports=false",
            "--conntrack-max-per-core",
            "0",
            "--nodeport-addresses=10.0.0.0/8,fd00::/8",
            "--feature-gates=AllowServiceExternalIPs=false,Other=true",
            "--kube-api-qps=2.5",
            "--v=2",
        ];
        let expected = json!({
            "clientConnection": {"qps": 2.5},
            "featureGates": {"AllowServiceExternalIPs": false, "Other": true},
            "mode": "nftables",
            "iptables": {"masqueradeAll": true, "localhostNodePorts": false},
            "nftables": {"masqueradeAll": true},
            "nodePortAddresses": ["10.0.0.0/8", "fd00::/8"],
            "conntrack": {"maxPerCore": 0},
        });
        assert_eq!(settings(&flags).expect("they are right"), expected);
    }

    #[test]
    fn flags_are_shown_with_the_values_they_have() {
        let fields =
            settings(&["--nodeport-addresses=10.0.0.0/8,fd00::/8", "--iptables-masquerade-bit=3"]).expect("right");
        let shown = Settings { fields }.shown().expect("a configuration");
        let get = |name: &str| shown.get(name).map(String::as_str);
        assert_eq!(get("nodeport-addresses"), Some("[10.0.0.0/8,fd00::/8]"));
        assert_eq!(get("iptables-masquerade-bit"), Some("3"));
        assert_eq!(get("healthz-bind-address"), Some("0.0.0.0:10256"));
        assert_eq!((get("masquerade-all"), get("cluster-cidr")), (Some("false"), Some("")));
    }

    #[test]
    fn every_flag_names_a_field_that_exists() {
        let text = orlop_proxy::KubeProxyConfiguration::with_defaults().to_yaml().expect("YAML");
        for (flag, paths, ..) in FLAGS {
            for name in paths.split_whitespace().filter_map(|path| path.split('.').next_back()) {
                assert!(text.contains(&format!("{name}:")), "--{flag}: {name}");
            }
        }
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused_with_the_flags_name() {
        for flag in ["--conntrack-min=many", "--feature-gates=A", "--masquerade-all=maybe"] {
            let error = settings(&[flag]).expect_err(flag).to_string();
            assert!(error.contains(flag.split('=').next().unwrap_or_default()), "{error}");
        }
    }
}
