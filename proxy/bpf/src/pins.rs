//! Where maps and links are pinned.
//!
//! `<bpf_root>/<abi hash>/` holds the maps by name, `programs/` and `links/`. Another build with the same hash takes
//! them over; one with another hash has a directory of its own, and takes over what it can (`inherit`).

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use orlop_ebpf::ABI_HASH;

use crate::Error;

/// The directories.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
    /// The maps.
    pub maps: PathBuf,
    /// The programs.
    pub programs: PathBuf,
    /// The links.
    pub links: PathBuf,
}

impl Pins {
    /// Under a bpffs directory.
    pub fn under(root: &Path) -> Self {
        let maps = root.join(format!("{ABI_HASH:016x}"));
        Self { root: root.into(), programs: maps.join("programs"), links: maps.join("links"), maps }
    }

    /// Under a bpffs directory, made if they are not there.
    pub fn create(root: &Path) -> Result<Self, Error> {
        let pins = Self::under(root);
        for directory in [&pins.programs, &pins.links] {
            fs::create_dir_all(directory).map_err(Error::file(directory))?;
        }
        Ok(pins)
    }

    /// Whether an agent with this ABI has pinned anything.
    pub fn exist(&self) -> bool {
        self.maps.join("CONFIG").exists()
    }

    /// What a build with another ABI pinned; of several, what is newest.
    pub fn other(&self) -> Result<Option<PathBuf>, Error> {
        let all = names(&self.root)?.into_iter().map(|hash| self.root.join(hash));
        let others = all.filter(|directory| is_hash(directory) && *directory != self.maps);
        let made = |directory: &PathBuf| fs::metadata(directory.join("CONFIG")).and_then(|m| m.modified()).ok();
        Ok(others.filter(|directory| made(directory).is_some()).max_by_key(made))
    }

    /// The names of the links that are pinned.
    pub fn link_names(&self) -> Result<Vec<String>, Error> {
        names(&self.links)
    }

    /// Removes everything pinned under the root, of other ABI hashes too.
    pub fn remove_all(&self) -> Result<(), Error> {
        self.remove_hashes(|_| true)
    }

    /// Removes what builds with another map ABI pinned; what is pinned here too lives on.
    pub fn remove_others(&self) -> Result<(), Error> {
        self.remove_hashes(|directory| directory != self.maps)
    }

    /// Links first, which detaches the programs.
    fn remove_hashes(&self, which: impl Fn(&Path) -> bool) -> Result<(), Error> {
        for directory in names(&self.root)?.into_iter().map(|hash| self.root.join(hash)) {
            if is_hash(&directory) && directory.is_dir() && which(&directory) {
                for part in ["links", "programs"] {
                    remove_tree(&directory.join(part))?;
                }
                remove_tree(&directory)?;
            }
        }
        Ok(())
    }
}

/// Whether a directory is named as ours are: the root may be shared with others.
fn is_hash(directory: &Path) -> bool {
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Removes one pin; one that is gone is fine.
pub fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::file(path)(error)),
        _ => Ok(()),
    }
}

fn remove_tree(directory: &Path) -> Result<(), Error> {
    for name in names(directory)? {
        remove(&directory.join(name))?;
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::file(directory)(error)),
        _ => Ok(()),
    }
}

fn names(directory: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::file(directory))?,
    };
    entries
        .map(|entry| {
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned()).map_err(Error::file(directory))
        })
        .collect()
}
