//! `/version`: which Kubernetes this server speaks, and that it is Orlop.

use serde_json::{Value, json};

/// The Kubernetes version whose API is served, with our own version as the build.
pub const GIT_VERSION: &str = concat!("v1.36.0+orlop", env!("CARGO_PKG_VERSION"));

/// `k8s.io/apimachinery/pkg/version.Info`.
pub fn info() -> Value {
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": platform(),
    })
}

/// The machine in Go's words: `linux/amd64`.
pub fn platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{architecture}", std::env::consts::OS)
}
