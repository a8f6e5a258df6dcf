//! Every map that user space fills or reads.

use std::path::Path;

use orlop_ebpf::maglev::Row;
use orlop_ebpf::{
    Address, Backend, BackendKey, Cidr, Config, Device, Frontend, FrontendKey, MemberKey, Set, SourceRange, Tally,
};

use crate::Error;
use crate::map::Map;

/// The opened maps; `orlop-ebpf`'s `maps.rs` says what each is for.
#[derive(Debug)]
pub struct Maps {
    pub config: Map<u32, Config>,
    pub addresses: Map<Address, u32>,
    pub frontends: Map<FrontendKey, Frontend>,
    pub sets: Map<u32, Set>,
    pub backends: Map<BackendKey, Backend>,
    pub maglev: Map<BackendKey, Row>,
    pub members: Map<MemberKey, Tally>,
    pub source_ranges: Map<SourceRange, u32>,
    pub cluster_cidrs: Map<Cidr, u32>,
}

impl Maps {
    /// Opens them where the loader pinned them.
    pub fn open(pins: &Path) -> Result<Self, Error> {
        Ok(Self {
            config: Map::open(pins, "CONFIG")?,
            addresses: Map::open(pins, "ADDRESSES")?,
            frontends: Map::open(pins, "FRONTENDS")?,
            sets: Map::open(pins, "SETS")?,
            backends: Map::open(pins, "BACKENDS")?,
            maglev: Map::open(pins, "MAGLEV")?,
            members: Map::open(pins, "MEMBERS")?,
            source_ranges: Map::open(pins, "SOURCE_RANGES")?,
            cluster_cidrs: Map::open(pins, "CLUSTER_CIDRS")?,
        })
    }
}

/// The devices' map, which has a writer of its own.
pub fn devices(pins: &Path) -> Result<Map<u32, Device>, Error> {
    Map::open(pins, "DEVICES")
}
