//! One machine, brought to where pods can run on it.

use crate::cgroup::V1;
use crate::layout::NodeLayout;
use crate::options::Options;
use crate::{containerd, spaces};
use anyhow::{Context, Result};

/// Brings the machine up: namespaces if they are not there, containerd, images. Blocking; machines are brought up in parallel.
pub(crate) fn bring_up(node: &NodeLayout, options: &Options, v1: &[V1]) -> Result<()> {
    if !spaces::intact(node) {
        spaces::build(node, v1).with_context(|| format!("building {}", node.name()))?;
    }
    containerd::start(node, options, v1)?;
    containerd::import_images(node, options, v1)
}
