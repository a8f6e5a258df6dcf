//! How many elements the maps have room for.
//!
//! The kernel allocates a table's buckets, and all of a least-recently-used table, when it is made: 70 MiB of everything
//! at full size. A machine with less memory gets halves, quarters, ... of them. Maps that an earlier agent made keep their
//! sizes.

use std::fs;

/// Maps whose sizes follow the memory, and the GiB at which they have the size that the programs' `maps.rs` says.
struct Group {
    full_at: u64,
    maps: &'static [(&'static str, u32)],
}

/// What follows the plan, and what follows the traffic.
const GROUPS: [Group; 2] = [
    Group {
        full_at: 16,
        maps: &[
            ("ADDRESSES", 131_072),
            ("FRONTENDS", 262_144),
            ("BACKENDS", 524_288),
            ("MAGLEV", 131_072),
            ("MEMBERS", 524_288),
        ],
    },
    Group {
        full_at: 32,
        maps: &[
            ("AFFINITY", 32_768),
            ("CONNECTED_UDP", 65_536),
            ("FLOWS", 131_072),
            ("HALF_OPEN", 32_768),
            ("FRAGMENTS", 8_192),
            ("OTHER_TALKS", 4_096),
            ("OTHER_ANSWERS", 4_096),
        ],
    },
];

/// The smallest part of a full map, as a power of two.
const SMALLEST: u32 = 4;

/// The sizes for the memory this machine has.
pub fn of_this_machine() -> Vec<(&'static str, u32)> {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    sizes(memory(&meminfo).unwrap_or(u64::MAX))
}

/// The size of one of them.
pub fn of(name: &str) -> usize {
    let all = of_this_machine();
    all.into_iter().find(|(other, _)| *other == name).map_or(0, |(_, entries)| entries as usize)
}

fn memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

fn sizes(memory: u64) -> Vec<(&'static str, u32)> {
    let part = |group: &Group| {
        // What firmware and kernel keep for themselves is not counted: a machine of 16 GiB has 15 and a bit.
        let full = (group.full_at << 30) - (group.full_at << 27);
        (0..SMALLEST).find(|halves| memory >= full >> halves).unwrap_or(SMALLEST)
    };
    GROUPS.iter().flat_map(|group| group.maps.iter().map(move |(name, full)| (*name, full >> part(group)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_machine_has_small_maps() {
        let flows = |gib: u64| sizes(gib << 30).into_iter().find(|(name, _)| *name == "FLOWS").map(|(_, size)| size);
        assert_eq!([1, 2, 4, 8, 15, 64].map(flows), [8_192, 8_192, 16_384, 32_768, 65_536, 131_072].map(Some));
    }

    #[test]
    fn the_memory_is_read_as_the_kernel_writes_it() {
        assert_eq!(memory("MemTotal:       24685128 kB\nMemFree: 1 kB\n"), Some(24_685_128 << 10));
    }
}
