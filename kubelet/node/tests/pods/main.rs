//! Pods from their creation in the API server to their end, through a real containerd.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod api;
mod cable;
mod cluster;
mod ephemeral;
mod errors;
mod node;
mod probes;
mod resize;
mod restart;
mod start;
mod stop;
mod stream;
