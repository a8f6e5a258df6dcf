//! Which source ports masquerading may give.

use orlop_plan::NFTABLES_SOURCE_PORTS;

/// The ports for a node whose sockets take theirs from `local` and whose NodePorts are in `node_ports`: no port that
/// nftables gives either, unless there is no other.
pub fn ours(local: (u16, u16), node_ports: (u16, u16)) -> (u16, u16) {
    match gap(&[local, node_ports, NFTABLES_SOURCE_PORTS]) {
        (_, 0) => gap(&[local, node_ports]),
        range => range,
    }
}

/// The largest stretch of unprivileged ports outside every one of `taken` (inclusive ranges): first port and length.
/// Length zero when nothing is left.
fn gap(taken: &[(u16, u16)]) -> (u16, u16) {
    let mut taken = taken.to_vec();
    taken.sort_unstable();
    taken.push((u16::MAX, u16::MAX));
    let (mut from, mut best) = (1024_u16, (1024, 0));
    for (first, last) in taken {
        if first > from && first - from > best.1 {
            best = (from, first - from);
        }
        from = from.max(last.saturating_add(1));
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_largest_stretch_between_the_ranges() {
        assert_eq!(gap(&[(32_768, 60_999), (30_000, 32_767)]), (1024, 28_976));
        assert_eq!(gap(&[(1024, 40_000), (41_000, 50_000)]), (50_001, 15_534));
    }

    #[test]
    fn gives_no_port_of_nftables_but_in_need() {
        assert_eq!(ours((32_768, 60_999), (30_000, 32_767)), (1024, 28_976));
        assert_eq!(ours((10_000, 40_000), (1024, 9_999)), (40_001, 25_534));
        assert_eq!(ours((40_000, 50_000), (20_000, 30_000)), (1024, 18_976));
    }

    #[test]
    fn has_nothing_left_when_the_ranges_cover_everything() {
        assert_eq!(gap(&[(1024, 65_535)]).1, 0);
    }
}
