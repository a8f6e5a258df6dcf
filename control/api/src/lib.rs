//! The API server: HTTP in, store out, and nothing else touches the store.
//!
//! A request is authenticated, authorized, admitted and carried out by [`ApiServer::handle`], whether it came over TLS
//! ([`ApiServer::serve`]) or from a component of this process ([`ApiServer::client`]): there is no side door.
//! Every kind takes one generic path (`rest`) over one watch cache (`cache`); what is truly per kind lives in `orlop-kinds`,
//! the shape of types in `orlop-schema`, and decisions about users in `orlop-auth`.

mod admission;
mod aggregator;
mod allocation;
mod api_table;
mod audit;
mod authenticate;
mod authorize;
mod bootstrap;
mod cache;
mod catalog;
mod config;
mod convert;
mod custom;
mod discovery;
mod fields;
mod flow_control;
mod handle;
mod health;
mod impersonate;
mod metrics;
mod object;
mod openapi;
mod openid;
mod registry;
mod request;
mod rest;
mod selector;
mod serve;
mod server;
mod service_resolver;
mod status;
mod strategy;
mod subresource;
mod table;
mod version;
mod webhook;
mod wire;

pub use api_table::api_table;
pub use audit::{AuditError, AuditLimits, AuditOptions, Mode as AuditMode};
pub use authenticate::Identity;
pub use config::{Config, FrontProxy, REQUESTS_IN_FLIGHT, ServiceRanges, ServiceRangesError};
pub use server::{ApiError, ApiServer};
pub use status::Status;
