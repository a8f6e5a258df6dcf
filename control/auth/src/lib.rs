//! Who is asking and may they: certificates, tokens, RBAC, Node authorization.
//!
//! Pure decisions over values: nothing here reads the network or the store. The API server feeds RBAC objects in and asks.

mod attributes;
mod user;

pub use attributes::{Attributes, Decision};
pub use user::UserInfo;
