//! The CRI v1 client: gRPC over the runtime's unix socket.
//!
//! [`v1`] holds the messages as the protocol defines them; [`CriClient`] is one method for each call that a kubelet makes, with
//! a deadline of its own and an error that names the call and the object. It decides nothing and keeps no state beyond the
//! connection, which is opened on first use and again after the runtime was restarted.

mod client;
mod error;

pub use client::{ContainerEvents, CriClient};
pub use error::CriError;

/// The messages of `runtime.v1`, generated from `proto/runtime.v1.proto`.
#[allow(missing_docs, deprecated, clippy::all, rustdoc::all)]
pub mod v1 {
    tonic::include_proto!("runtime.v1");
}
