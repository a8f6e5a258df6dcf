//! The API server as its users see it: the real kubectl over TLS, and kube-rs in process.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod aggregation;
mod apply;
mod audit;
mod bootstrap_tokens;
mod cluster;
mod concurrency;
mod custom_resources;
mod custom_versions;
mod flow_control;
mod full_disk;
mod helm;
mod hook_server;
mod hostile;
mod in_process;
mod kinds;
mod kubectl;
mod logs;
mod metrics;
mod namespaces;
mod nodes;
mod pods;
mod policies;
mod protobuf;
mod quotas;
mod reviews;
mod services;
mod tokens;
mod webhooks;
mod writes;
