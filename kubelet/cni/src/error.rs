//! CNI errors: the specification's codes, in JSON on standard output.

use serde_json::{Value, json};

/// What a CNI call failed with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CniError {
    #[error("incompatible CNI version {0}")]
    IncompatibleVersion(String),
    #[error("{0} is missing from the environment or unusable")]
    Environment(&'static str),
    #[error("{0}")]
    Io(String),
    #[error("network configuration cannot be read: {0}")]
    Decode(String),
    #[error("invalid network configuration: {0}")]
    Config(String),
    #[error("no free address in {0}")]
    Exhausted(ipnet::Ipv4Net),
    #[error("container has lost {0}")]
    Missing(String),
    #[error(transparent)]
    Net(#[from] orlop_netns::Error),
}

pub(crate) type Result<T> = std::result::Result<T, CniError>;

impl CniError {
    /// The code of the specification (1-99), or one of ours (100 and above).
    pub(crate) fn code(&self) -> u32 {
        match self {
            Self::IncompatibleVersion(_) => 1,
            Self::Environment(_) => 4,
            Self::Io(_) => 5,
            Self::Decode(_) => 6,
            Self::Config(_) => 7,
            // "Try again later": another pod's DEL gives an address back.
            Self::Exhausted(_) => 11,
            Self::Missing(_) => 101,
            Self::Net(_) => 100,
        }
    }

    pub(crate) fn to_json(&self, version: &str) -> Value {
        json!({"cniVersion": version, "code": self.code(), "msg": self.to_string()})
    }
}
