//! Who is asking and may they: certificates, tokens, RBAC, Node authorization.
//!
//! Pure decisions over values: nothing here reads the network or the store. The API server feeds RBAC objects in and asks.

mod attributes;
pub mod bootstrap;
pub mod bootstrap_token;
mod client_certificates;
mod node;
pub mod pki;
mod rbac;
mod tls;
mod token;
mod user;
mod x509;

pub use attributes::{Attributes, Decision};
pub use client_certificates::{AuthorityError, Certified, ClientCertificates};
pub use node::{NodeAuthorizer, node_name};
pub use rbac::{PolicyRule, Rbac, uncovered};
pub use tls::to_anyone;
pub use token::{BoundObject, Claims, TokenAuthority, TokenError, TokenRequest};
pub use user::UserInfo;
pub use x509::user_of_certificate;
