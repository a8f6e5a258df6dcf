//! Values of flags that clap does not know.

use std::time::Duration;

use clap::ValueEnum;
use orlop_proxy::{Forwarding, Selection, Xdp};
use orlop_server::AuditMode;

/// How eBPF chooses an endpoint.
#[derive(Clone, Copy, Default, ValueEnum)]
pub enum EbpfSelection {
    /// By chance.
    #[default]
    Random,
    /// By the flow, on every node alike, for what is reached from outside (NodePort, load balancer and external IPs).
    Maglev,
}

impl From<EbpfSelection> for Selection {
    fn from(flag: EbpfSelection) -> Self {
        match flag {
            EbpfSelection::Random => Self::Random,
            EbpfSelection::Maglev => Self::Maglev,
        }
    }
}

/// How eBPF sends a packet from outside to an endpoint on another node.
#[derive(Clone, Copy, Default, ValueEnum)]
pub enum EbpfForwarding {
    /// With an address of this node as its source.
    #[default]
    Snat,
    /// With its client as its source: the endpoint's node answers the client directly.
    Dsr,
    /// TCP as dsr, UDP as snat.
    Hybrid,
}

impl From<EbpfForwarding> for Forwarding {
    fn from(flag: EbpfForwarding) -> Self {
        match flag {
            EbpfForwarding::Snat => Self::Snat,
            EbpfForwarding::Dsr => Self::Dsr,
            EbpfForwarding::Hybrid => Self::Hybrid,
        }
    }
}

/// Whether devices' drivers translate what they can.
#[derive(Clone, Copy, Default, ValueEnum)]
pub enum EbpfXdp {
    /// No.
    #[default]
    Disabled,
    /// Where the driver can.
    Native,
    /// Where the driver can, but not on virtual cables (veth).
    BestEffort,
}

impl From<EbpfXdp> for Xdp {
    fn from(flag: EbpfXdp) -> Self {
        match flag {
            EbpfXdp::Disabled => Self::Disabled,
            EbpfXdp::Native => Self::Native,
            EbpfXdp::BestEffort => Self::BestEffort,
        }
    }
}

/// Who waits for the audit log.
#[derive(Clone, Copy, Default, ValueEnum)]
pub enum AuditLogMode {
    /// Nobody; events for which there is no room in the buffer are lost and counted.
    Batch,
    /// Each request, until its events are written or cannot be.
    #[default]
    Blocking,
    /// Likewise, and a request that cannot be written down when it comes is refused.
    BlockingStrict,
}

impl From<AuditLogMode> for AuditMode {
    fn from(flag: AuditLogMode) -> Self {
        match flag {
            AuditLogMode::Batch => Self::Batch,
            AuditLogMode::Blocking => Self::Blocking,
            AuditLogMode::BlockingStrict => Self::BlockingStrict,
        }
    }
}

/// How the audit log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditLogFormat {
    /// A line of JSON for each event.
    Json,
}

/// A format of the audit log.
pub fn audit_log_format(text: &str) -> Result<AuditLogFormat, String> {
    match text {
        "json" => Ok(AuditLogFormat::Json),
        "legacy" => Err("the legacy format is not implemented; write json".into()),
        _ => Err(format!("invalid audit log format {text}, allowed formats are \"json\"")),
    }
}

/// A duration as Go and Kubernetes write it: `40s`, `1200ms`, `1m30s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| format!("{text:?}: write it as 1200ms or 40s"))?;
    parsed.try_into().map_err(|_| format!("{text:?} is negative"))
}

/// A range of ports as Kubernetes writes it: `30000-32767`.
pub fn port_range(text: &str) -> Result<(u16, u16), String> {
    let parsed = text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    parsed.ok_or_else(|| format!("{text:?}: write it as 30000-32767"))
}

#[cfg(test)]
mod tests {
    use super::{AuditLogFormat, audit_log_format, duration, port_range};
    use std::time::Duration;

    #[test]
    fn durations_are_read_as_kubernetes_writes_them() {
        for (text, milliseconds) in [("40s", 40_000), ("1200ms", 1200), ("1m30s", 90_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "40", "-1s", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn audits_are_saved_as_json() {
        assert_eq!(audit_log_format("json"), Ok(AuditLogFormat::Json));
        assert!(audit_log_format("legacy").unwrap_err().contains("not implemented"));
        assert!(audit_log_format("xml").unwrap_err().contains("allowed formats"));
    }

    #[test]
    fn a_range_of_ports_has_two_ends() {
        assert_eq!(port_range("30000-32767"), Ok((30000, 32767)));
        assert!(port_range("30000").is_err() && port_range("1-70000").is_err());
    }
}
