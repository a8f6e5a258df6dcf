//! The backend against this kernel: real sockets and packets in namespaces that live as long as a test. Needs root.

#![allow(clippy::expect_used)]

mod admission;
mod bridge;
mod cables;
mod cost;
mod counting;
mod crash;
mod devices;
mod direct;
mod early;
mod flows;
mod frame;
mod inherit;
mod judge;
mod maglev;
mod net;
mod oracle;
mod overlay;
mod plans;
mod ports;
mod scale;
mod scenarios;
mod sockets;
mod switch;
mod talks;
mod world;
