//! tmpfs mounts below a pod's folder.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::error::PodError;

/// Mounts a tmpfs on `path` unless one is there. `size` in bytes.
pub fn tmpfs(path: &Path, size: Option<i64>) -> Result<(), PodError> {
    if is_mounted(path) {
        return Ok(());
    }
    let options = size.map(|bytes| format!("size={bytes}"));
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, options.as_deref())
        .map_err(|error| PodError::file(format!("mounting a tmpfs on {}", path.display()), error))
}

/// Something is mounted exactly here.
pub fn is_mounted(path: &Path) -> bool {
    mounts().iter().any(|mount| mount == path)
}

/// Unmounts everything below `dir`, the innermost first.
pub fn unmount_below(dir: &Path) -> Result<(), PodError> {
    let mut below: Vec<PathBuf> = mounts().into_iter().filter(|mount| mount.starts_with(dir)).collect();
    below.sort_by_key(|mount| std::cmp::Reverse(mount.components().count()));
    for mount in &below {
        // Lazily: a dying container may still hold it.
        umount2(mount, MntFlags::MNT_DETACH)
            .map_err(|error| PodError::file(format!("unmounting {}", mount.display()), error))?;
    }
    Ok(())
}

/// The mount points that this process sees. Spaces and such are escaped in octal.
fn mounts() -> Vec<PathBuf> {
    let info = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    info.lines().filter_map(|line| line.split(' ').nth(4)).map(|path| PathBuf::from(unescape(path))).collect()
}

fn unescape(path: &str) -> String {
    let mut result = Vec::with_capacity(path.len());
    let bytes = path.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let octal = path.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (bytes[at], octal) {
            (b'\\', Some(byte)) => {
                result.push(byte);
                at += 4;
            }
            (byte, _) => {
                result.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&result).into_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn escaped_mount_points_are_read_back() {
        assert_eq!(super::unescape("/a\\040b\\134c"), "/a b\\c");
    }
}
