//! `orlop manifest`: what to apply to run a room on somebody else's cluster.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

const PROXY: &str = include_str!("manifest/proxy.yaml");

/// Flags of `orlop manifest`.
#[derive(Args)]
pub struct Flags {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The service proxy in kube-proxy's place.
    Proxy(Proxy),
}

#[derive(Args)]
struct Proxy {
    /// The API server's address, as nodes reach it without any Service: https://10.0.0.1:6443.
    #[arg(long)]
    server: http::Uri,
    /// The image (`cargo xtask image` builds it).
    #[arg(long, default_value = concat!("localhost/orlop/orlop:v", env!("CARGO_PKG_VERSION")))]
    image: String,
    /// ebpf or nftables.
    #[arg(long, default_value = "ebpf", value_parser = ["ebpf", "nftables"])]
    proxy_mode: String,
    /// The pods' addresses, or a pair of both families; what is not in them is masqueraded.
    #[arg(long, default_value = "")]
    cluster_cidr: String,
    /// Where the node has its cgroup2 hierarchy (/sys/fs/cgroup/unified beside cgroup v1).
    #[arg(long, default_value = "/sys/fs/cgroup")]
    cgroup_root: String,
}

/// Prints the manifest.
pub fn run(flags: Flags) -> Result<()> {
    let What::Proxy(flags) = flags.what;
    print!("{}", proxy(&flags)?);
    Ok(())
}

fn proxy(flags: &Proxy) -> Result<String> {
    if flags.server.scheme_str() != Some("https") {
        bail!("--server {}: write it as https://10.0.0.1:6443", flags.server);
    }
    let server = flags.server.to_string();
    let values = [
        ("@IMAGE@", flags.image.as_str()),
        ("@SERVER@", server.trim_end_matches('/')),
        ("@MODE@", &flags.proxy_mode),
        ("@CLUSTER_CIDR@", &flags.cluster_cidr),
        ("@CGROUP_ROOT@", &flags.cgroup_root),
    ];
    for (name, value) in values {
        if value.contains(['"', '\\', '\n']) {
            bail!("{value:?} cannot stand in a manifest ({name})");
        }
    }
    Ok(values.iter().fold(PROXY.to_owned(), |text, (name, value)| text.replace(name, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_filled_and_what_is_no_server_refused() {
        let mut flags = Proxy {
            server: "https://10.0.0.1:6443/".parse().expect("a URI"),
            image: "registry.example/orlop:v1".into(),
            proxy_mode: "nftables".into(),
            cluster_cidr: "10.244.0.0/16".into(),
            cgroup_root: "/sys/fs/cgroup".into(),
        };
        let text = proxy(&flags).expect("a manifest");
        assert!(!text.contains('@') && text.contains("server: https://10.0.0.1:6443\n"), "{text}");
        flags.image = "x\"\nprivileged: true".into();
        assert!(proxy(&flags).is_err());
        flags.server = "10.0.0.1:6443".parse().expect("a URI");
        assert!(proxy(&flags).is_err());
    }
}
