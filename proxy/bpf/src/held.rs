//! What the kernel holds for one frontend, read back element by element.

use ipnet::IpNet;
use orlop_ebpf::{BackendKey, FrontendKey, Set, SourceRange, address_flags, frontend_flags};
use orlop_plan::{Held, Masquerade, WhenEmpty};

use crate::Error;
use crate::convert::{endpoint, ip};
use crate::maps::Maps;

/// None when there is no such frontend.
pub fn read(maps: &Maps, key: &FrontendKey) -> Result<Option<Held>, Error> {
    let Some(frontend) = maps.frontends.get(key)? else { return Ok(None) };
    let flag = |flag: u32| frontend.flags & flag != 0;
    let mut places = vec![
        format!("FRONTENDS: set {}, flags {:#x}, affinity {} s", frontend.set, frontend.flags, frontend.affinity),
        format!("ADDRESSES: {}", known(maps.addresses.get(&key.address)?)),
    ];
    let mut members = |set: u32| -> Result<Vec<_>, Error> {
        let Set { count, table } = maps.sets.get(&set)?.unwrap_or_default();
        let chosen = if table == 0 { String::new() } else { format!(", a table of {table} places in MAGLEV") };
        places.push(format!("SETS {set}: {count} endpoints in BACKENDS{chosen}"));
        let mut all = Vec::new();
        for slot in 0..count {
            match maps.backends.get(&BackendKey { set, slot })? {
                Some(backend) => all.push(endpoint(&backend)),
                None => places.push(format!("BACKENDS: slot {slot} of set {set} is empty")),
            }
        }
        Ok(all)
    };
    Ok(Some(Held {
        endpoints: members(frontend.set)?,
        local: if flag(frontend_flags::LOCAL) { Some(members(frontend.local_set)?) } else { None },
        affinity_seconds: (frontend.affinity != 0).then_some(frontend.affinity),
        source_ranges: if flag(frontend_flags::SOURCE_RANGES) { Some(ranges(maps, frontend.set)?) } else { None },
        masquerade: Some(if flag(frontend_flags::MASQUERADE_ALWAYS) {
            Masquerade::Always
        } else if flag(frontend_flags::MASQUERADE_OUTSIDE) {
            Masquerade::Outside
        } else {
            Masquerade::Never
        }),
        when_empty: Some(if flag(frontend_flags::DROP_WHEN_EMPTY) { WhenEmpty::Drop } else { WhenEmpty::Reject }),
        places,
    }))
}

fn ranges(maps: &Maps, set: u32) -> Result<Vec<IpNet>, Error> {
    let net = |range: &SourceRange| {
        let prefix = range.prefix - 32 - if range.address.is_v4() { 96 } else { 0 };
        IpNet::new(ip(&range.address), u8::try_from(prefix).ok()?).ok()
    };
    let all = maps.source_ranges.dump()?;
    Ok(all.iter().filter(|(range, _)| range.set == set).filter_map(|(range, _)| net(range)).collect())
}

fn known(flags: Option<u32>) -> String {
    let Some(flags) = flags else { return "nothing".into() };
    let names = [
        (address_flags::NODE, "the node's"),
        (address_flags::NODE_PORTS, "NodePorts answer"),
        (address_flags::FRONTEND, "some frontend's"),
        (address_flags::CLUSTER_IP, "a cluster IP"),
        (address_flags::LOOPBACK, "loopback"),
    ];
    names.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
}
