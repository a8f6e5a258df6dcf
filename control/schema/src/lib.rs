//! The schema engine: one generated table describes every built-in type of a Kubernetes minor, and this crate answers from it everything
//! that does not depend on a kind's own rules: which resources exist, what a field is called and how it merges, which fields of a request are
//! unknown, duplicate or of the wrong type.
//!
//! It is pure: values in, values out, no IO, no clock. The table is compiled in, compressed, and read once on first use. A custom resource's
//! table has the same form ([`Schema::overlay`]), so that built-in and custom resources take one path.

pub mod apply;
pub mod decode;
mod gvk;
pub mod openapi;
pub mod protobuf;
pub mod quantity;
mod resource;
mod schema;
pub mod strategic;
pub mod structural;
mod table;
mod time;
mod types;
mod wire;

pub use gvk::GroupVersionKind;
pub use resource::{Resource, Subresource};
pub use schema::{Schema, TypeRef};
pub use types::{Field, ListTopology, ListType, MapType, PatchStrategy, Special, Str, Ty, Type, TypeId, WireTag};
