//! The nftables backend: makes the kernel's map elements equal to the plan.
//!
//! Services and endpoints are elements of a few maps, never chains or rules; the skeleton around them is fixed (see
//! `layout`). A change costs as many elements as it touches, whatever the size of the cluster. Everything is written
//! over netlink directly: no `nft` binary is needed. An existing table is adopted, not replaced, so that a restart of
//! the agent disturbs no connection.

mod attr;
mod backend;
mod conntrack;
mod counters;
mod element;
mod error;
mod expr;
mod flows;
mod group;
mod held;
mod layout;
mod netlink;
mod pods;
mod policy;
mod reconciler;
mod ruleset;
mod table;

pub use backend::NftBackend;
pub use error::Error;
