//! The plan's behaviour, seen through its public interface.
// clippy takes helper functions of an integration test for production code.
#![allow(clippy::unwrap_used)]

#[path = "plan/large.rs"]
mod large;
#[path = "plan/objects.rs"]
mod objects;
#[path = "plan/properties.rs"]
mod properties;
#[path = "plan/topology.rs"]
mod topology;
#[path = "plan/tracker.rs"]
mod tracker;
