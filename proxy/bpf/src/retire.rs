//! Leaving the field to another backend without losing a connection.

use std::collections::HashSet;
use std::path::Path;

use orlop_ebpf::{Address, Backend, Config, Flow, FlowKey, MemberKey, Tally, config_flags, counters};
use orlop_plan::{FlowFilter, Flows, Plan};

use crate::map::Map;
use crate::pins::Pins;
use crate::{Error, backend, convert, flows, sys};

/// Makes what an agent left attached take no new connections, and removes it once those it translates have ended; says
/// whether some are left. To be called again now and then, and when the plan changes, until none is.
///
/// TCP connections and UDP flows go on with the endpoints they have, UDP only as long as the plan has those: the next
/// datagram is the other backend's. Sockets keep the endpoint they are connected to.
pub fn retire(bpf_root: &Path, plan: &Plan) -> Result<bool, Error> {
    let pins = Pins::under(bpf_root);
    if pins.exist() {
        let config = Map::<u32, Config>::open(&pins.maps, "CONFIG")?;
        let before = config.get(&0)?.unwrap_or_default();
        let talked = talked(&pins)?;
        config.update(&[(0, Config { flags: before.flags | config_flags::RETIRED, talked, ..before })])?;
        // Without their addresses Services are nobody's; without members datagrams leave their flows. Frontends stay: an
        // agent that takes over again finds by them the sets that flows know by number.
        clear::<Address, u32>(&pins, "ADDRESSES", |_| true)?;
        let served = served(plan);
        clear::<MemberKey, Tally>(&pins, "MEMBERS", |key| !served.contains(&key.backend))?;
        pins.remove_others()?;
        // How sockets talk shows only from one call to the next.
        let was_retired = before.flags & config_flags::RETIRED != 0;
        let left = living(&pins)? + usize::from(!was_retired || talked != before.talked);
        if left > 0 {
            tracing::info!(left, "connections translated by eBPF programs go on with them");
            return Ok(true);
        }
    }
    backend::remove(bpf_root)?;
    Ok(false)
}

/// The wanted flows at devices of what [`retire`] left; none when it has gone.
pub fn retired_flows(bpf_root: &Path, wanted: &FlowFilter) -> Result<Flows, Error> {
    let pins = Pins::under(bpf_root);
    if pins.exist() { flows::at_devices(&pins.maps, wanted) } else { Ok(Flows::default()) }
}

fn served(plan: &Plan) -> HashSet<Backend> {
    let targets = plan.frontends.values();
    targets
        .flat_map(|target| target.endpoints.iter().chain(target.local.iter().flat_map(|l| l.iter())))
        .map(convert::backend)
        .collect()
}

/// Datagrams that sockets sent on since retirement, modulo two to the 32nd.
fn talked(pins: &Pins) -> Result<u32, Error> {
    Ok(sys::sum_of_cpus(&pins.maps.join("COUNTERS"), counters::TALKED).map_err(Error::file(&pins.maps))? as u32)
}

fn clear<K: orlop_ebpf::Plain, V: orlop_ebpf::Plain>(
    pins: &Pins,
    name: &'static str,
    which: impl Fn(&K) -> bool,
) -> Result<(), Error> {
    let map = Map::<K, V>::open(&pins.maps, name)?;
    let keys: Vec<K> = map.dump()?.into_iter().map(|(key, _)| key).filter(which).collect();
    map.delete(&keys)
}

/// How many connections are in the tables, each by its client's entry.
fn living(pins: &Pins) -> Result<usize, Error> {
    let now = sys::now();
    let lives = |flow: &Flow| !flow.is_reply() && !flow.is_closed() && !flow.is_expired(now);
    let mut count = 0;
    for name in ["FLOWS", "HALF_OPEN"] {
        let map = Map::<FlowKey, Flow>::open(&pins.maps, name)?;
        count += map.dump()?.iter().filter(|(_, flow)| lives(flow)).count();
    }
    Ok(count)
}
