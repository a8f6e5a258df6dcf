//! Whether what happened to a packet is permitted.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;

use orlop_plan::{Family, Frontend, Outcome, Plan, interpret};

use crate::Shot;

/// What was seen of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Nothing: it was discarded.
    Nothing,
    /// The sender got a reset or a port unreachable.
    Refused,
    /// The node's own stack took it.
    Taken,
    /// It left the node (or, for a judge without a wire, was sent off) like this.
    Delivered {
        /// Source address and port.
        source: (IpAddr, u16),
        /// Destination address and port.
        destination: (IpAddr, u16),
        /// Whether its checksums are right.
        sound: bool,
    },
}

/// Judges the packets of one plan, and remembers which endpoint a client was given.
#[derive(Debug, Default)]
pub struct Judge {
    clients: HashMap<(Frontend, IpAddr), (IpAddr, u16)>,
    /// Whether the node's own addresses answer: then a packet that is left alone may be refused there.
    pub stack_refuses: bool,
    /// Ports that a caller may get without being masqueraded.
    pub other_ports: Range<u16>,
}

impl Judge {
    /// Names the kind of outcome, or says what is wrong with it.
    pub fn judge(
        &mut self,
        plan: &Plan,
        shot: &Shot,
        source_port: u16,
        observed: Observed,
    ) -> Result<&'static str, String> {
        let outcome = interpret(plan, &shot.packet());
        let wrong = || Err(format!("{shot:?} from port {source_port}: {observed:?}, but the plan says {outcome:?}"));
        let own = plan.node.addresses.contains(&shot.destination);
        match (&outcome, observed) {
            (Outcome::Drop, Observed::Nothing) => Ok("dropped"),
            (Outcome::Reject, Observed::Refused) => Ok("refused"),
            (Outcome::Pass, Observed::Taken) if own => Ok("passed"),
            (Outcome::Pass, Observed::Refused) if own && self.stack_refuses => Ok("passed"),
            (Outcome::Pass, Observed::Delivered { source, destination, sound }) => {
                let same = source == (shot.source, source_port) && destination == (shot.destination, shot.port);
                if same && sound && !own { Ok("passed") } else { wrong() }
            }
            (Outcome::Forward { choices, affinity_seconds }, Observed::Delivered { source, destination, sound }) => {
                let to = |choice: &&orlop_plan::Choice| (choice.endpoint.address, choice.endpoint.port) == destination;
                let Some(choice) = choices.iter().find(to).filter(|_| sound) else { return wrong() };
                let kept = source.0 == shot.source && (source.1 == source_port || self.other_ports.contains(&source.1));
                let of_node = plan.node.addresses.contains(&source.0);
                if if choice.masqueraded { !of_node } else { !kept } {
                    return wrong();
                }
                if affinity_seconds.is_some() {
                    let client = (self.frontend(plan, shot), shot.source);
                    let first = *self.clients.entry(client).or_insert(destination);
                    if first != destination {
                        return Err(format!("{shot:?} went to {destination:?}, its client belongs to {first:?}"));
                    }
                }
                Ok(match choice.masqueraded {
                    true if choice.endpoint.address == shot.source => "hairpin",
                    true => "masqueraded",
                    false => "forwarded",
                })
            }
            _ => wrong(),
        }
    }

    fn frontend(&self, plan: &Plan, shot: &Shot) -> Frontend {
        let exact = Frontend::ip(shot.destination, shot.protocol, shot.port);
        match plan.get(&exact) {
            Some(_) => exact,
            None => Frontend::node_port(Family::of(shot.destination), shot.protocol, shot.port),
        }
    }
}
