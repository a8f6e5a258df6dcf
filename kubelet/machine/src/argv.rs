//! The command lines of the processes that `up` starts: the one place that knows the binary's flags (`src/main.rs` parses them).

use crate::address;
use crate::daemon::Daemon;
use crate::layout::{Layout, NodeLayout};
use crate::options::Options;
use std::ffi::OsString;
use std::time::Duration;

/// Names the listening descriptor of the API server's second socket.
pub(crate) const LISTEN_FD: &str = "--listen-fd";

/// `orlop server`, in node 1's namespaces.
pub(crate) fn server(layout: &Layout, options: &Options) -> Daemon {
    let mut args = Args::new("server");
    args.flag("--data-dir", layout.lib());
    args.flag("--advertise-address", address::node(1).to_string());
    args.flag("--secure-port", address::API_PORT.to_string());
    args.flag("--node-monitor-grace-period", milliseconds(options.node_monitor_grace_period));
    args.flag("--node-monitor-period", milliseconds(options.node_monitor_grace_period / 8));
    args.daemon("server", options)
}

/// `orlop node`, on each machine.
pub(crate) fn node(node: &NodeLayout, options: &Options) -> Daemon {
    let mut args = Args::new("node");
    args.flag("--node-name", node.name());
    args.flag("--node-ip", address::node(node.n).to_string());
    args.flag("--kubeconfig-dir", node.lib());
    args.flag("--cri-socket", node.containerd_socket());
    args.flag("--root-dir", node.lib().join("kubelet"));
    args.flag("--run-dir", node.run());
    args.flag("--cni-conf-dir", node.cni_conf());
    args.flag("--cni-data-dir", node.lib().join("cni"));
    args.flag("--proxy-mode", &options.proxy_mode);
    args.flag("--ebpf-selection", &options.ebpf_selection);
    args.flag("--ebpf-forwarding", &options.ebpf_forwarding);
    args.flag("--ebpf-xdp", &options.ebpf_xdp);
    args.flag("--overlay", &options.overlay);
    args.flag("--bpf-root", node.cluster.bpf().join(node.name()));
    args.flag("--cgroup-root", node.cgroup());
    args.flag("--node-lease-duration", milliseconds(options.node_monitor_grace_period));
    // The disk is the person's own: that it is nearly full is no reason to refuse pods.
    args.flag("--eviction-hard", "nodefs.available<0%,nodefs.inodesFree<0%");
    args.daemon("node", options)
}

/// `orlop publish`, on node 1; each port's descriptor follows as `--listen-fd`, in the ports' order.
pub(crate) fn publish(options: &Options) -> Daemon {
    let mut args = Args::new("publish");
    args.flag("--to", address::node(1).to_string());
    for port in &options.publish {
        args.flag("--port", port.to_string());
    }
    args.daemon("publish", options)
}

fn milliseconds(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

struct Args(Vec<OsString>);

impl Args {
    fn new(command: &str) -> Self {
        Self(vec![command.into()])
    }

    fn flag(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }

    fn daemon(self, name: &'static str, options: &Options) -> Daemon {
        Daemon { name, program: options.binary.clone(), args: self.0, path: vec![options.bin()] }
    }
}
