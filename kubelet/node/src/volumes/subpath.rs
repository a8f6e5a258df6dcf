//! `subPath`: a file or folder inside a volume, which must not lead out of it.

use std::path::{Component, Path, PathBuf};

/// The place of `sub` in the volume at `base`. What does not exist is made a folder.
pub fn subpath(base: &Path, sub: &str) -> Result<PathBuf, String> {
    let sub = Path::new(sub);
    if sub.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("subPath {:?} must be a relative path without ..", sub.display()));
    }
    let base = base.canonicalize().map_err(|error| format!("{}: {error}", base.display()))?;
    let mut place = base.clone();
    for part in sub.components() {
        place.push(part);
        // A container can have put a symbolic link into its volume: follow it now, and look where it leads.
        place = match place.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if place.is_symlink() {
                    return Err(format!("subPath {:?} is a dangling symbolic link", sub.display()));
                }
                std::fs::create_dir(&place).map_err(|error| format!("creating {}: {error}", place.display()))?;
                place
            }
            Err(error) => return Err(format!("{}: {error}", place.display())),
        };
        if !place.starts_with(&base) {
            return Err(format!("subPath {:?} leads out of its volume", sub.display()));
        }
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subpath_is_made_when_absent_and_never_leaves_the_volume() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("volume");
        std::fs::create_dir(&base).unwrap();
        assert_eq!(subpath(&base, "a/b").unwrap(), base.canonicalize().unwrap().join("a/b"));
        assert!(subpath(&base, "../x").is_err());
        assert!(subpath(&base, "/etc").is_err());
        std::os::unix::fs::symlink("/etc", base.join("out")).unwrap();
        assert!(subpath(&base, "out/passwd").unwrap_err().contains("leads out"));
        std::os::unix::fs::symlink("a", base.join("in")).unwrap();
        assert!(subpath(&base, "in/b").is_ok());
    }
}
