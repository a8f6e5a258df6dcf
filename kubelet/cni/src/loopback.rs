//! The `loopback` plugin: `lo` up in the pod, nothing else.

use crate::command::{Request, Verb};
use crate::error::{CniError, Result};
use crate::result::NetworkResult;
use netlink_packet_route::link::LinkFlags;
use orlop_netns::NetNs;
use serde_json::Value;

pub(crate) async fn run(request: &Request, version: &str) -> Result<Option<Value>> {
    match request.verb {
        Verb::Add => {
            let net = NetNs::open(&request.netns_path)?.connect().await?;
            net.up("lo").await?;
            Ok(Some(NetworkResult::loopback(version, &request.netns_path).to_json()))
        }
        Verb::Check => {
            let net = NetNs::open(&request.netns_path)?.connect().await?;
            match net.link("lo").await? {
                Some(link) if link.header.flags.contains(LinkFlags::Up) => Ok(None),
                _ => Err(CniError::Missing("lo, which is down".into())),
            }
        }
        // The namespace takes its loopback with it.
        Verb::Del | Verb::Version | Verb::Status | Verb::Gc => Ok(None),
    }
}
