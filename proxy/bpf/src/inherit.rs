//! What a build with another map ABI left, taken over map by map.
//!
//! What follows from the plan is filled anew. What only the kernel knows (connections, affinity, counts) goes on in the
//! same maps where their layout is the same, is copied where the old layout is known ([`orlop_ebpf::old`]), and is lost
//! where it is not, which is said. A map's layout is told by a second pin beside it, `NAME-<hash>`.
//!
//! Most of it refers to endpoint sets by their numbers. Those are in `FRONTENDS`, whose old content is where the new
//! table begins; if that cannot be read, the rest is of no use.

use std::collections::HashSet;
use std::hash::Hash;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use orlop_ebpf::{
    AffinityClient, AffinityEntry, AnswerKey, Connection, Flow, FlowKey, FragmentKey, Frontend, FrontendKey, MemberKey,
    Plain, Talk, TalkKey, Talks, Tally, counters, fold, old,
};

use crate::map::Map;
use crate::pins::Pins;
use crate::{Error, sys};

/// Copies what is in a map of one directory into that of another; of what is there already, nothing.
type Copy = fn(&'static str, &Path, &Path) -> Result<usize, Error>;

/// A map whose content only the kernel knows.
struct Heirloom {
    name: &'static str,
    /// Its types as the programs' `maps.rs` has them.
    #[cfg_attr(not(test), allow(dead_code, reason = "compared in a test"))]
    types: &'static str,
    layout: u64,
    /// Whether it refers to endpoint sets.
    has_sets: bool,
    /// What is lost with it.
    loss: &'static str,
    /// Earlier layouts.
    known: &'static [(u64, Copy)],
}

const fn layout<K: Plain, V: Plain>() -> u64 {
    fold(K::LAYOUT, V::LAYOUT)
}

macro_rules! heirloom {
    ($name:literal, $key:ty => $value:ty, $types:literal, $has_sets:literal, $loss:literal, $known:expr) => {
        Heirloom {
            name: $name,
            types: $types,
            layout: layout::<$key, $value>(),
            has_sets: $has_sets,
            loss: $loss,
            known: $known,
        }
    };
}

const OLD_FLOWS: &[(u64, Copy)] =
    &[(layout::<FlowKey, old::FlowBeforeOpened>(), copy::<FlowKey, old::FlowBeforeOpened, Flow>)];

const HEIRLOOMS: [Heirloom; 11] = [
    heirloom!(
        "FLOWS", FlowKey => Flow,
        "LruHashMap<FlowKey, Flow>", true, "connections through devices break",
        OLD_FLOWS
    ),
    heirloom!(
        "HALF_OPEN", FlowKey => Flow,
        "LruHashMap<FlowKey, Flow>", true, "connections that are just being made break",
        OLD_FLOWS
    ),
    heirloom!(
        "SOCKET_CONNECTIONS", u32 => Connection,
        "SkStorage<Connection>", true, "connected sockets see their endpoints as their peers",
        &[]
    ),
    heirloom!(
        "CONNECTED_UDP", u64 => Connection,
        "HashMap<u64, Connection>", true, "connected UDP sockets stay with endpoints that go",
        &[]
    ),
    heirloom!(
        "SOCKET_TALKS", u32 => Talks,
        "SkStorage<Talks>", true, "unconnected UDP sockets may change their endpoints",
        &[]
    ),
    heirloom!(
        "OTHER_TALKS", TalkKey => Talk,
        "LruHashMap<TalkKey, Talk>", true, "unconnected UDP sockets may change their endpoints",
        &[]
    ),
    heirloom!(
        "OTHER_ANSWERS", AnswerKey => Talk,
        "LruHashMap<AnswerKey, Talk>", true, "answers that are under way come from the endpoint",
        &[]
    ),
    heirloom!(
        "AFFINITY", AffinityClient => AffinityEntry,
        "LruHashMap<AffinityClient, AffinityEntry>", true, "clients may change their endpoints once",
        &[]
    ),
    heirloom!(
        "MEMBERS", MemberKey => Tally,
        "HashMap<MemberKey, Tally>", true, "the counters of Services start again",
        &[]
    ),
    heirloom!(
        "FRAGMENTS", FragmentKey => u32,
        "LruHashMap<FragmentKey, u32>", false, "fragments that are under way are dropped",
        &[]
    ),
    heirloom!(
        "COUNTERS", u32 => [u64; counters::LEN as usize],
        "PerCpuArray<u64>", false, "the node's counters start again",
        &[]
    ),
];
const FRONTENDS: (&str, u64) = ("FRONTENDS", layout::<FrontendKey, Frontend>());

/// What was found and not finished yet.
#[derive(Debug, Default)]
pub struct Inheritance {
    /// Frontends with the numbers of their sets.
    pub frontends: Vec<(FrontendKey, Frontend)>,
    /// Maps to copy, and from which layout.
    copies: Vec<(usize, Copy)>,
    from: PathBuf,
    to: PathBuf,
}

/// Pins what can go on as it is, before the programs are loaded over it.
pub fn take(pins: &Pins) -> Result<Inheritance, Error> {
    let Some(from) = pins.other()? else { return Ok(Inheritance::default()) };
    let mut taken = Inheritance { from, to: pins.maps.clone(), ..Inheritance::default() };
    let (name, present) = FRONTENDS;
    let numbered = taken.has(name, present);
    if numbered {
        taken.frontends = Map::open(&taken.from, name)?.dump()?;
    }
    let mut kept = 0;
    for (index, heirloom) in HEIRLOOMS.iter().enumerate() {
        let path = pins.maps.join(heirloom.name);
        let usable = numbered || !heirloom.has_sets;
        let known = heirloom.known.iter().find(|(layout, _)| taken.has(heirloom.name, *layout));
        if path.exists() {
            // An attempt before this one was interrupted: what it took is there, what it was to copy is copied again.
            if let Some((_, copy)) = known.filter(|_| usable && !taken.has(heirloom.name, heirloom.layout)) {
                taken.copies.push((index, *copy));
            }
        } else if usable && taken.has(heirloom.name, heirloom.layout) {
            let old = taken.from.join(heirloom.name);
            let map = sys::open_pin(&old).map_err(Error::file(old))?;
            sys::pin(map.as_fd(), &path).map_err(Error::bpf(format!("pin map {}", heirloom.name)))?;
            kept += 1;
        } else if let Some((_, copy)) = known.filter(|_| usable) {
            taken.copies.push((index, *copy));
        } else {
            let reason =
                if usable { "its layout has changed" } else { "the endpoint sets cannot be told by number any more" };
            tracing::warn!(map = heirloom.name, "{reason}: {}", heirloom.loss);
        }
    }
    tracing::info!(kept, copied = taken.copies.len(), from = %taken.from.display(), "taking the place of another build");
    Ok(taken)
}

/// Notes the layouts of the maps, for the next build.
pub fn note(pins: &Pins) -> Result<(), Error> {
    let layouts = HEIRLOOMS.iter().map(|heirloom| (heirloom.name, heirloom.layout)).chain([FRONTENDS]);
    for (name, layout) in layouts {
        let (path, note) = (pins.maps.join(name), pins.maps.join(note_name(name, layout)));
        if !note.exists() {
            let map = sys::open_pin(&path).map_err(Error::file(path))?;
            sys::pin(map.as_fd(), &note).map_err(Error::bpf(format!("pin map {name}")))?;
        }
    }
    Ok(())
}

fn note_name(name: &str, layout: u64) -> String {
    format!("{name}-{layout:016x}")
}

impl Inheritance {
    fn has(&self, name: &str, layout: u64) -> bool {
        self.from.join(note_name(name, layout)).exists()
    }

    /// Copies what has another layout. Once before the programs are attached, and once after: until then the others go on
    /// writing.
    pub fn copy(&self) {
        for (index, copy) in &self.copies {
            let heirloom = &HEIRLOOMS[*index];
            match copy(heirloom.name, &self.from, &self.to) {
                Ok(elements) => tracing::info!(map = heirloom.name, elements, "copied from another layout"),
                Err(error) => tracing::warn!(map = heirloom.name, %error, "cannot be copied: {}", heirloom.loss),
            }
        }
    }
}

fn copy<K: Plain + Eq + Hash, O: Plain, V: Plain + From<O>>(
    name: &'static str,
    from: &Path,
    to: &Path,
) -> Result<usize, Error> {
    let target = Map::<K, V>::open(to, name)?;
    let present: HashSet<K> = target.dump()?.into_iter().map(|(key, _)| key).collect();
    let missing = Map::<K, O>::open(from, name)?.dump_if(|key, _| !present.contains(key))?;
    let elements: Vec<(K, V)> = missing.into_iter().map(|(key, value)| (key, value.into())).collect();
    target.update(&elements)?;
    Ok(elements.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_are_those_of_the_programs() {
        let maps = include_str!("../../../ebpf/programs/maps.rs");
        for heirloom in &HEIRLOOMS {
            let definition = format!("pub static {}: {} =", heirloom.name, heirloom.types);
            assert!(maps.contains(&definition), "{definition}");
        }
    }

    #[test]
    fn a_layout_is_told_from_another_and_from_the_same_by_another_name() {
        let mut all: Vec<u64> = HEIRLOOMS.iter().map(|heirloom| heirloom.layout).collect();
        all.extend(HEIRLOOMS.iter().flat_map(|heirloom| heirloom.known).map(|(layout, _)| *layout));
        all.sort_unstable();
        all.dedup();
        // FLOWS and HALF_OPEN are alike, and have been.
        assert_eq!(all.len(), HEIRLOOMS.len() - 1 + 1);
    }
}
