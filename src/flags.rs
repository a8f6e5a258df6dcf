//! Values of flags that clap does not know.

use std::time::Duration;

/// A duration as Go and Kubernetes write it: `40s`, `1200ms`, `1m30s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| format!("{text:?}: write it as 1200ms or 40s"))?;
    parsed.try_into().map_err(|_| format!("{text:?} is negative"))
}

#[cfg(test)]
mod tests {
    use super::duration;
    use std::time::Duration;

    #[test]
    fn durations_are_read_as_kubernetes_writes_them() {
        for (text, milliseconds) in [("40s", 40_000), ("1200ms", 1200), ("1m30s", 90_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "40", "-1s", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
