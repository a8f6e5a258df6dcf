//! The baseline: kube-proxy's rules for the same Services in either of its modes, written for the programs that kube-proxy itself calls.

pub mod iptables;
pub mod nftables;
