//! The call as the environment tells it: CNI_COMMAND and its parameters.

use crate::error::{CniError, Result};
use crate::ipam::Attachment;
use std::path::PathBuf;

/// CNI_COMMAND.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Del,
    Check,
    Version,
    Status,
    Gc,
}

/// A call about one attachment.
#[derive(Debug)]
pub(crate) struct Request {
    pub verb: Verb,
    pub attachment: Attachment,
    /// CNI_NETNS; empty where DEL comes after the namespace has gone.
    pub netns_path: PathBuf,
}

pub(crate) fn verb(env: &impl Fn(&str) -> Option<String>) -> Result<Verb> {
    match env("CNI_COMMAND").as_deref() {
        Some("ADD") => Ok(Verb::Add),
        Some("DEL") => Ok(Verb::Del),
        Some("CHECK") => Ok(Verb::Check),
        Some("VERSION") => Ok(Verb::Version),
        Some("STATUS") => Ok(Verb::Status),
        Some("GC") => Ok(Verb::Gc),
        _ => Err(CniError::Environment("CNI_COMMAND")),
    }
}

pub(crate) fn request(verb: Verb, env: &impl Fn(&str) -> Option<String>) -> Result<Request> {
    // Both become parts of file names and device names: the specification's alphabets keep them harmless.
    let container_id = env("CNI_CONTAINERID")
        .filter(|id| {
            id.starts_with(|c: char| c.is_ascii_alphanumeric())
                && id.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        })
        .ok_or(CniError::Environment("CNI_CONTAINERID"))?;
    let ifname = env("CNI_IFNAME")
        .filter(|name| {
            (1..16).contains(&name.len())
                && name != "."
                && name != ".."
                && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace())
        })
        .ok_or(CniError::Environment("CNI_IFNAME"))?;
    let netns_path = env("CNI_NETNS").filter(|path| !path.is_empty());
    if netns_path.is_none() && verb != Verb::Del {
        return Err(CniError::Environment("CNI_NETNS"));
    }
    let netns_path = PathBuf::from(netns_path.unwrap_or_default());
    Ok(Request { verb, attachment: Attachment { container_id, ifname }, netns_path })
}
