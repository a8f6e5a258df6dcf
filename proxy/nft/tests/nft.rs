//! The backend against the kernel: network namespaces of its own, real packets.
//!
//! Needs the right to create network namespaces (root) and `ip` of iproute2; without them it fails rather than skips.
//! Namespaces are anonymous: they vanish with the test's threads, however it ends.
// clippy takes helper functions of an integration test for production code.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "nft/adoption.rs"]
mod adoption;
#[path = "nft/flows.rs"]
mod flows;
#[path = "nft/ipv6.rs"]
mod ipv6;
#[path = "nft/judge.rs"]
mod judge;
#[path = "nft/listing.rs"]
mod listing;
#[path = "nft/live.rs"]
mod live;
#[path = "nft/loopback.rs"]
mod loopback;
#[path = "nft/plans.rs"]
mod plans;
#[path = "nft/scale.rs"]
mod scale;
#[path = "nft/traffic.rs"]
mod traffic;
#[path = "nft/tun.rs"]
mod tun;
#[path = "nft/wire.rs"]
mod wire;
#[path = "nft/world.rs"]
mod world;
