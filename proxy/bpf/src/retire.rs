//! Leaving the field to another backend without losing a connection.

use std::path::Path;

use orlop_ebpf::{Address, Flow, FlowKey, Frontend, FrontendKey, MemberKey, Tally};

use crate::map::Map;
use crate::pins::Pins;
use crate::{Error, backend, sys};

/// Makes what an agent left attached take no new connections, and removes it once those it translates at devices have
/// ended; says whether some are left. To be called again now and then until none is.
///
/// UDP has no end: its datagrams are the other backend's from now on. Sockets keep the endpoint they are connected to.
pub fn retire(bpf_root: &Path) -> Result<bool, Error> {
    let pins = Pins::under(bpf_root);
    if pins.exist() {
        // Without their addresses Services are nobody's; without members datagrams leave their flows.
        clear::<Address, u32>(&pins, "ADDRESSES")?;
        clear::<FrontendKey, Frontend>(&pins, "FRONTENDS")?;
        clear::<MemberKey, Tally>(&pins, "MEMBERS")?;
        pins.remove_others()?;
        let left = living(&pins)?;
        if left > 0 {
            tracing::info!(left, "connections translated by eBPF programs go on with them");
            return Ok(true);
        }
    }
    backend::remove(bpf_root)?;
    Ok(false)
}

fn clear<K: orlop_ebpf::Plain, V: orlop_ebpf::Plain>(pins: &Pins, name: &'static str) -> Result<(), Error> {
    let map = Map::<K, V>::open(&pins.maps, name)?;
    let keys: Vec<K> = map.dump()?.into_iter().map(|(key, _)| key).collect();
    map.delete(&keys)
}

/// How many TCP connections are in the tables, each by its client's entry.
fn living(pins: &Pins) -> Result<usize, Error> {
    let now = sys::now();
    let lives = |flow: &Flow| {
        let client_of_tcp = flow.becomes.protocol == u32::from(orlop_ebpf::TCP) && !flow.is_reply();
        client_of_tcp && !flow.is_closed() && !flow.is_expired(now)
    };
    let mut count = 0;
    for name in ["FLOWS", "HALF_OPEN"] {
        let map = Map::<FlowKey, Flow>::open(&pins.maps, name)?;
        count += map.dump()?.iter().filter(|(_, flow)| lives(flow)).count();
    }
    Ok(count)
}
