//! What the runtime is asked for: a Pod as CRI messages. Pure: files, images and secrets are resolved before.

mod container;
mod dns;
pub mod labels;
mod resources;
mod sandbox;
mod security;

pub use container::{ContainerInput, container_config, log_path};
pub use dns::ResolvConf;
pub use labels::definition_hash;
pub use resources::{PodLimits, container_resources, pod_limits};
pub use sandbox::{cgroup_parent, sandbox_config};
pub use security::check_run_as_non_root;
