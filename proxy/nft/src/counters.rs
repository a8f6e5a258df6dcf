//! Connections by frontend and by endpoint, as the elements of the maps count them: only first packets of flows come to
//! a nat chain. Packets and bytes of the flows are not counted.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use orlop_plan::{Counters, EndpointTally, Family, Frontend, Tally};

use crate::Error;
use crate::element::{endpoint_of, frontend_of, group_at, group_of};
use crate::group::GroupId;
use crate::layout;
use crate::netlink::Netlink;
use crate::ruleset::{counts, elements};
use crate::table::family_number;

/// Reads the counters of a family, of its frontends or of its endpoints too, and adds them to `all`. A flow is counted with its endpoint where the endpoint was
/// chosen for it: `chosen` says of which groups that is so of every flow, and not of new clients alone. Several external
/// frontends of a Service port share a group; its endpoints' connections stand under the first of them.
pub(crate) fn read(
    netlink: &mut Netlink,
    family: Family,
    endpoints_too: bool,
    chosen: impl Fn(GroupId) -> bool,
    all: &mut Counters,
) -> Result<(), Error> {
    let number = family_number(family);
    let tally = |connections| Tally { connections: Some(connections), ..Tally::default() };
    for map in [layout::FRONTENDS, layout::NODE_PORTS] {
        for (element, connections) in counts(netlink, number, map)? {
            all.frontends.extend(frontend_of(&element.key, number).map(|frontend| (frontend, tally(connections))));
        }
    }
    if !endpoints_too {
        return Ok(());
    }
    let mut first: HashMap<GroupId, Frontend> = HashMap::new();
    for map in [layout::GROUPS, layout::NODE_PORT_GROUPS] {
        for element in elements(netlink, number, map)? {
            if let (Some(frontend), Some(group)) = (frontend_of(&element.key, number), group_at(&element.value, 4)) {
                let known = first.entry(group).or_insert(frontend);
                *known = (*known).min(frontend);
            }
        }
    }
    let mut endpoints: BTreeMap<(Frontend, (IpAddr, u16)), u64> = BTreeMap::new();
    for (element, connections) in counts(netlink, number, layout::ENDPOINTS)? {
        let (Some(group), Some(endpoint)) = (group_of(&element.key), endpoint_of(&element.value)) else { continue };
        if let Some(frontend) = first.get(&group.whole()).filter(|_| chosen(group)) {
            *endpoints.entry((*frontend, endpoint)).or_default() += connections;
        }
    }
    let tallies = endpoints.into_iter();
    all.endpoints.extend(tallies.map(|((frontend, endpoint), connections)| EndpointTally {
        frontend,
        endpoint,
        tally: tally(connections),
    }));
    Ok(())
}
