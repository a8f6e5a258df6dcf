//! The order of API versions: `v2` before `v1` before `v1beta1` before `v1alpha2`, and whatever is no such name behind them
//! (`k8s.io/apimachinery/pkg/version`).

use std::cmp::Ordering;

/// Compares two versions; the one that clients should prefer comes first.
pub fn newest_first(a: &str, b: &str) -> Ordering {
    match (rank(a), rank(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Stability, major version, then the number of the beta or alpha.
fn rank(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let major = rest[..end].parse().ok().filter(|major| *major > 0)?;
    let (stability, minor) = match &rest[end..] {
        "" => return Some((2, major, 0)),
        tail => match (tail.strip_prefix("beta"), tail.strip_prefix("alpha")) {
            (Some(minor), _) => (1, minor),
            (_, Some(minor)) => (0, minor),
            _ => return None,
        },
    };
    Some((stability, major, minor.parse().ok().filter(|minor| *minor > 0)?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn stable_versions_come_first_then_newer_ones() {
        let mut versions = ["v1alpha1", "foo", "v11beta2", "v1", "v10", "v3beta1", "v12alpha1", "bar", "v2"];
        versions.sort_by(|a, b| super::newest_first(a, b));
        assert_eq!(versions, ["v10", "v2", "v1", "v11beta2", "v3beta1", "v12alpha1", "v1alpha1", "bar", "foo"]);
    }
}
