//! The backend against this kernel: real sockets and packets in namespaces that live as long as a test. Needs root.

#![allow(clippy::expect_used)]

mod plans;
mod sockets;
#[allow(dead_code)]
mod world;
