//! The backend against this kernel: real sockets and packets in namespaces that live as long as a test. Needs root.

#![allow(clippy::expect_used)]

mod devices;
mod plans;
mod sockets;
mod world;
