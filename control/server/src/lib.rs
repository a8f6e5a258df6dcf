//! The all-in-one server: store, API, controllers and scheduler in one process, each under its own user.

mod listeners;
mod run;

pub use orlop_api::{AuditLimits, AuditMode, AuditOptions, ServiceRanges};
pub use run::{Config, run};
