//! Parts of one network, all of the same size: which are taken, and the next free one.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;

/// A network divided into parts of `mask` bits, handed out round robin so that a part just released rests a while.
#[derive(Debug)]
pub(super) struct CidrSet {
    cluster: Ipv4Net,
    mask: u8,
    taken: BTreeSet<u32>,
    next: u32,
}

impl CidrSet {
    /// Nothing is taken yet; a mask shorter than the cluster's gives the whole cluster as the only part.
    pub(super) fn new(cluster: Ipv4Net, mask: u8) -> Self {
        Self { cluster: cluster.trunc(), mask: mask.clamp(cluster.prefix_len(), 32), taken: BTreeSet::new(), next: 0 }
    }

    /// Marks every part that a network touches as taken.
    pub(super) fn occupy(&mut self, network: Ipv4Net) {
        let (first, last) = self.parts(network);
        self.taken.extend(first..last);
    }

    /// Gives a network back.
    pub(super) fn release(&mut self, network: Ipv4Net) {
        let (first, last) = self.parts(network);
        for part in first..last {
            self.taken.remove(&part);
        }
    }

    /// Takes the next free part; `None` if there is none.
    pub(super) fn allocate(&mut self) -> Option<Ipv4Net> {
        let count = self.count();
        let candidates = (self.next..count).chain(0..self.next.min(count));
        let part = candidates.into_iter().find(|part| !self.taken.contains(part))?;
        self.taken.insert(part);
        self.next = part + 1;
        let address = u32::from(self.cluster.network()) + part * self.size();
        Ipv4Net::new(address.into(), self.mask).ok()
    }

    fn count(&self) -> u32 {
        1_u32.checked_shl(u32::from(self.mask - self.cluster.prefix_len())).unwrap_or(u32::MAX)
    }

    fn size(&self) -> u32 {
        1_u32.checked_shl(u32::from(32 - self.mask)).unwrap_or(u32::MAX)
    }

    /// The parts that a network touches, the last one excluded.
    fn parts(&self, network: Ipv4Net) -> (u32, u32) {
        let touches = self.cluster.contains(&network.network()) || network.contains(&self.cluster.network());
        if !touches {
            return (0, 0);
        }
        let start = u32::from(self.cluster.network());
        let first = u32::from(network.network()).saturating_sub(start) / self.size();
        let end = u32::from(network.broadcast().min(self.cluster.broadcast())).saturating_sub(start) / self.size();
        (first, end + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn each_node_gets_the_next_part_until_none_is_left() {
        let mut set = CidrSet::new(net("10.244.0.0/22"), 24);
        let given: Vec<String> = (0..4).map(|_| set.allocate().unwrap().to_string()).collect();
        assert_eq!(given, ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24"]);
        assert_eq!(set.allocate(), None);
        set.release(net("10.244.1.0/24"));
        assert_eq!(set.allocate(), Some(net("10.244.1.0/24")));
    }

    #[test]
    fn what_nodes_have_already_is_not_given_again() {
        let mut set = CidrSet::new(net("10.244.0.0/16"), 24);
        set.occupy(net("10.244.0.0/23"));
        set.occupy(net("10.244.2.128/25"));
        set.occupy(net("192.168.0.0/16"));
        assert_eq!(set.allocate(), Some(net("10.244.3.0/24")));
    }
}
