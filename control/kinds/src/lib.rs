//! What is truly per kind: defaulting, validation, update strategy, printer columns and field labels, as pure functions over JSON.
//!
//! [`kind`] finds the rules for a group and kind. The order of a write is Kubernetes': [`Kind::default`], admission,
//! [`Kind::prepare_create`] or [`Kind::prepare_update`], then [`Kind::validate_create`] or [`Kind::validate_update`].
//! Nothing here does IO or reads a clock, and nothing here allocates addresses, ports or names: the API server does.
//! Texts, field paths and canonical forms are those of Kubernetes v1.36, so that clients which parse them keep working.

pub mod access_review;
pub mod autoscaling;
mod certificates;
mod config;
mod coordination;
pub mod custom;
mod diff;
mod dynamic_resources;
mod endpoints;
mod event;
pub mod field;
pub mod fields;
pub mod flow_control;
mod int_or_string;
mod kind;
pub mod labels;
pub mod limits;
pub mod meta;
pub mod names;
mod namespace;
mod net;
mod networking;
mod node;
mod others;
mod pod;
mod policy;
pub mod quantity;
pub mod quota;
mod rbac;
mod resource_names;
mod resources;
pub mod scale;
mod service;
mod storage;
pub mod table;
mod value;
mod warnings;
mod workload;

pub use field::{ErrorType, Errors, FieldError};
pub use fields::FieldSelector;
pub use kind::{Kind, Own, Subresource, all, kind};
pub use labels::LabelSelector;
pub use names::NameRule;
pub use pod::qos_class;
pub use quantity::Quantity;
pub use resources::{effective_limits, effective_requests};
pub use service::service_addresses;
pub use table::Column;

/// The table of kinds, a family at a time.
static FAMILIES: &[&[Kind]] = &[
    pod::KINDS,
    service::KINDS,
    node::KINDS,
    namespace::KINDS,
    workload::KINDS,
    storage::KINDS,
    endpoints::KINDS,
    policy::KINDS,
    config::KINDS,
    coordination::KINDS,
    event::KINDS,
    rbac::KINDS,
    autoscaling::KINDS,
    certificates::KINDS,
    networking::KINDS,
    flow_control::KINDS,
    dynamic_resources::KINDS,
    others::KINDS,
];
