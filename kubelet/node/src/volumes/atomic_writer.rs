//! Kubernetes' atomic writer: files lie in a folder with a time in its name, `..data` is a symbolic link to it, and each file is
//! a link through `..data`. An update writes a new folder and renames a new `..data` over the old one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;

/// One file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub bytes: Vec<u8>,
    pub mode: u32,
}

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// Makes the folder hold exactly `files`, by relative path. Returns whether anything changed.
pub fn write(dir: &Path, files: &BTreeMap<String, File>, group: Option<i64>) -> io::Result<bool> {
    let group = group.and_then(|group| u32::try_from(group).ok());
    if let Some(path) = files.keys().find(|path| !is_inside(path)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("invalid path {path:?}")));
    }
    let data = dir.join(DATA);
    let old = std::fs::read_link(&data).ok().filter(|old| is_own_folder(old));
    if old.is_some() && is_current(&data, files, group)? {
        link_files(dir, files)?;
        return Ok(false);
    }
    let now = Timestamp::now();
    let name = format!("..{}.{}", now.strftime("%Y_%m_%d_%H_%M_%S"), now.subsec_nanosecond());
    let folder = dir.join(&name);
    std::fs::create_dir(&folder)?;
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755))?;
    for (path, file) in files {
        let to = folder.join(path);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&to, &file.bytes)?;
        if group.is_some() {
            chown(&to, None, group)?;
        }
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(mode(file, group)))?;
    }
    let new_data = dir.join(NEW_DATA);
    let _ = std::fs::remove_file(&new_data);
    symlink(&name, &new_data)?;
    std::fs::rename(&new_data, &data)?;
    link_files(dir, files)?;
    if let Some(old) = old {
        std::fs::remove_dir_all(dir.join(old))?;
    }
    Ok(true)
}

/// With an fsGroup, the group may read what the owner may.
fn mode(file: &File, group: Option<u32>) -> u32 {
    if group.is_some() { file.mode | 0o440 } else { file.mode }
}

/// Whether it is a name that this writer gives: a link that somebody else made may lead anywhere, and what it leads to is removed.
fn is_own_folder(link: &Path) -> bool {
    let mut parts = link.components();
    let own = |part| matches!(part, Component::Normal(name) if name.as_encoded_bytes().starts_with(b".."));
    parts.next().is_some_and(own) && parts.next().is_none()
}

fn is_inside(path: &str) -> bool {
    let mut parts = Path::new(path).components().peekable();
    parts.peek().is_some() && !path.starts_with("..") && parts.all(|part| matches!(part, Component::Normal(_)))
}

fn is_current(data: &Path, files: &BTreeMap<String, File>, group: Option<u32>) -> io::Result<bool> {
    let mut present = BTreeSet::new();
    list(data, Path::new(""), &mut present)?;
    if present.len() != files.len() || !files.keys().all(|path| present.contains(Path::new(path))) {
        return Ok(false);
    }
    for (path, file) in files {
        let at = data.join(path);
        let same_mode = std::fs::metadata(&at)?.permissions().mode() & 0o7777 == mode(file, group);
        if !same_mode || std::fs::read(&at)? != file.bytes {
            return Ok(false);
        }
    }
    Ok(true)
}

fn list(root: &Path, below: &Path, into: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            list(root, &path, into)?;
        } else {
            into.insert(path);
        }
    }
    Ok(())
}

/// One link for each first part of a path; links that lead nowhere any more go.
fn link_files(dir: &Path, files: &BTreeMap<String, File>) -> io::Result<()> {
    let wanted: BTreeSet<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !wanted.contains(name.as_ref()) {
            std::fs::remove_file(dir.join(name.as_ref()))?;
        }
    }
    for name in wanted {
        match symlink(Path::new(DATA).join(name), dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> BTreeMap<String, File> {
        let file = |text: &str| File { bytes: text.as_bytes().to_vec(), mode: 0o640 };
        list.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    #[test]
    fn files_are_links_through_data_and_change_in_one_step() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert!(write(dir, &files(&[("a", "1"), ("sub/b", "2")]), None).unwrap());
        assert_eq!(std::fs::read_link(dir.join("a")).unwrap(), Path::new("..data/a"));
        assert_eq!(std::fs::read_to_string(dir.join("sub/b")).unwrap(), "2");
        assert_eq!(std::fs::metadata(dir.join("a")).unwrap().permissions().mode() & 0o777, 0o640);
        let first = std::fs::read_link(dir.join(DATA)).unwrap();

        assert!(!write(dir, &files(&[("a", "1"), ("sub/b", "2")]), None).unwrap(), "nothing changed");
        assert_eq!(std::fs::read_link(dir.join(DATA)).unwrap(), first);

        assert!(write(dir, &files(&[("a", "3"), ("c", "4")]), None).unwrap());
        assert_eq!(std::fs::read_to_string(dir.join("a")).unwrap(), "3");
        assert!(!dir.join("sub").is_symlink(), "the link to what is gone is gone");
        assert!(!dir.join(first).exists(), "the old files are gone");
    }

    #[test]
    fn what_a_container_links_to_is_not_removed() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dir = dir.path();
        write(dir, &files(&[("a", "1")]), None).unwrap();
        for target in [other.path(), Path::new("../"), Path::new("../..")] {
            std::fs::remove_file(dir.join(DATA)).unwrap();
            symlink(target, dir.join(DATA)).unwrap();
            write(dir, &files(&[("a", "2")]), None).unwrap();
            assert_eq!(std::fs::read_to_string(dir.join("a")).unwrap(), "2");
            assert!(other.path().exists() && dir.exists());
        }
    }

    #[test]
    fn no_file_is_written_outside_the_volume() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["../a", "/a", "a/../../b", "..data", ""] {
            assert!(write(dir.path(), &files(&[(path, "x")]), None).is_err(), "{path}");
        }
    }

    #[test]
    fn a_half_finished_update_is_repaired() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        write(dir, &files(&[("a", "1")]), None).unwrap();
        std::fs::remove_file(dir.join("a")).unwrap();
        symlink("nowhere", dir.join(NEW_DATA)).unwrap();
        write(dir, &files(&[("a", "1")]), None).unwrap();
        assert_eq!(std::fs::read_to_string(dir.join("a")).unwrap(), "1");
        assert!(write(dir, &files(&[("a", "2")]), None).unwrap());
    }
}
