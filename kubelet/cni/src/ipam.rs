//! Host-local addresses: one file for each lease, named by the address and holding its owner, as the reference `host-local` lays them out.
//!
//! A lease is on disk before the address is used (written, synced, renamed into place), and every change happens under a lock on the directory,
//! so that concurrent plugins never give one address twice and a plugin killed in between leaks nothing but a lease that its DEL finds.

use crate::error::{CniError, Result};
use ipnet::Ipv4Net;
use nix::fcntl::{Flock, FlockArg};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Who holds an address: one interface of one sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub(crate) struct Attachment {
    #[serde(rename = "containerID")]
    pub container_id: String,
    pub ifname: String,
}

/// The leases of one network.
pub(crate) struct Leases {
    dir: PathBuf,
    subnet: Ipv4Net,
}

const LAST: &str = "last_reserved_ip.0";

impl Leases {
    pub(crate) fn open(dir: &Path, subnet: Ipv4Net) -> Result<Self> {
        fs::create_dir_all(dir).map_err(at(dir))?;
        Ok(Self { dir: dir.to_path_buf(), subnet: subnet.trunc() })
    }

    /// The attachment's address: the one it holds, or the next free one after the last that was given out.
    pub(crate) fn acquire(&self, attachment: &Attachment) -> Result<Ipv4Addr> {
        let _lock = self.lock()?;
        let taken = self.read()?;
        if let Some((address, _)) = taken.iter().find(|(a, holder)| *holder == attachment && self.subnet.contains(*a)) {
            return Ok(*address);
        }
        let last = fs::read_to_string(self.dir.join(LAST)).ok().and_then(|text| text.trim().parse().ok());
        let address =
            next_free(self.subnet, last, |a| taken.contains_key(a)).ok_or(CniError::Exhausted(self.subnet))?;
        self.write(address, &format!("{}\n{}", attachment.container_id, attachment.ifname))?;
        // Only a hint: losing it costs nothing, so it is not synced.
        fs::write(self.dir.join(LAST), address.to_string()).map_err(at(&self.dir.join(LAST)))?;
        Ok(address)
    }

    /// Gives the attachment's addresses back; it may hold none.
    pub(crate) fn release(&self, attachment: &Attachment) -> Result<()> {
        let _lock = self.lock()?;
        for (address, holder) in self.read()? {
            if holder == *attachment {
                self.remove(address)?;
            }
        }
        Ok(())
    }

    /// Gives back what is held by none of `valid`, and says whose that was.
    pub(crate) fn release_all_but(&self, valid: &[Attachment]) -> Result<Vec<Attachment>> {
        let _lock = self.lock()?;
        let mut released = Vec::new();
        for (address, holder) in self.read()? {
            if !valid.contains(&holder) {
                self.remove(address)?;
                released.push(holder);
            }
        }
        Ok(released)
    }

    /// The address that the attachment holds.
    pub(crate) fn address_of(&self, attachment: &Attachment) -> Result<Option<Ipv4Addr>> {
        let _lock = self.lock()?;
        Ok(self.read()?.into_iter().find(|(_, holder)| holder == attachment).map(|(address, _)| address))
    }

    /// Fails when no further pod can have an address.
    pub(crate) fn has_room(&self) -> Result<()> {
        let _lock = self.lock()?;
        let taken = self.read()?;
        next_free(self.subnet, None, |a| taken.contains_key(a)).map(drop).ok_or(CniError::Exhausted(self.subnet))
    }

    fn lock(&self) -> Result<Flock<File>> {
        let path = self.dir.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| at(&path)(errno.into()))
    }

    fn read(&self) -> Result<BTreeMap<Ipv4Addr, Attachment>> {
        let mut leases = BTreeMap::new();
        for entry in fs::read_dir(&self.dir).map_err(at(&self.dir))? {
            let entry = entry.map_err(at(&self.dir))?;
            let Some(address) = entry.file_name().to_str().and_then(|name| name.parse::<Ipv4Addr>().ok()) else {
                continue;
            };
            let text = fs::read_to_string(entry.path()).map_err(at(&entry.path()))?;
            let mut lines = text.lines();
            let container_id = lines.next().unwrap_or_default().trim().to_string();
            let ifname = lines.next().unwrap_or("eth0").trim().to_string();
            leases.insert(address, Attachment { container_id, ifname });
        }
        Ok(leases)
    }

    fn write(&self, address: Ipv4Addr, text: &str) -> Result<()> {
        let path = self.dir.join(address.to_string());
        let new = self.dir.join(".new");
        let written = (|| {
            let mut file = File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.dir)?.sync_all()
        })();
        written.map_err(at(&path))
    }

    fn remove(&self, address: Ipv4Addr) -> Result<()> {
        let path = self.dir.join(address.to_string());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&path)(error)),
            _ => Ok(()),
        }
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> CniError {
    let path = path.display().to_string();
    move |error| CniError::Io(format!("{path}: {error}"))
}

/// The first free host address after `last`, going round. The network's own address, the one after it (kept for a gateway device)
/// and the broadcast address are never given.
fn next_free(subnet: Ipv4Net, last: Option<Ipv4Addr>, taken: impl Fn(&Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
    let first = u32::from(subnet.network()) + 2;
    let end = u32::from(subnet.broadcast());
    let count = end.checked_sub(first).filter(|count| *count > 0)?;
    let start = match last.map(u32::from) {
        Some(last) if (first..end).contains(&last) => last - first + 1,
        _ => 0,
    };
    (0..count).map(|i| Ipv4Addr::from(first + (start + i) % count)).find(|address| !taken(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(id: &str) -> Attachment {
        Attachment { container_id: id.into(), ifname: "eth0".into() }
    }

    fn leases(dir: &Path, subnet: &str) -> Leases {
        Leases::open(dir, subnet.parse().unwrap()).unwrap()
    }

    #[test]
    fn addresses_go_round_and_are_not_reused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let leases = leases(dir.path(), "10.1.1.0/29");
        let first = leases.acquire(&attachment("a")).unwrap();
        assert_eq!(first, Ipv4Addr::new(10, 1, 1, 2));
        leases.release(&attachment("a")).unwrap();
        assert_eq!(leases.acquire(&attachment("b")).unwrap(), Ipv4Addr::new(10, 1, 1, 3));
        for id in ["c", "d", "e", "f"] {
            leases.acquire(&attachment(id)).unwrap();
        }
        let error = leases.acquire(&attachment("g")).unwrap_err();
        assert_eq!(error.to_string(), "no free address in 10.1.1.0/29");
        leases.release(&attachment("c")).unwrap();
        assert_eq!(leases.acquire(&attachment("g")).unwrap(), Ipv4Addr::new(10, 1, 1, 4));
    }

    #[test]
    fn acquiring_twice_gives_the_same_address_and_releasing_twice_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let leases = leases(dir.path(), "10.1.1.0/24");
        let address = leases.acquire(&attachment("a")).unwrap();
        assert_eq!(leases.acquire(&attachment("a")).unwrap(), address);
        leases.release(&attachment("a")).unwrap();
        leases.release(&attachment("a")).unwrap();
        assert_eq!(leases.address_of(&attachment("a")).unwrap(), None);
    }

    #[test]
    fn leases_survive_a_restart_and_what_is_not_valid_any_more_is_released() {
        let dir = tempfile::tempdir().unwrap();
        let address = leases(dir.path(), "10.1.1.0/24").acquire(&attachment("a")).unwrap();
        leases(dir.path(), "10.1.1.0/24").acquire(&attachment("b")).unwrap();
        let leases = leases(dir.path(), "10.1.1.0/24");
        assert_eq!(leases.address_of(&attachment("a")).unwrap(), Some(address));
        assert_eq!(leases.release_all_but(&[attachment("a")]).unwrap(), vec![attachment("b")]);
        assert_eq!(leases.address_of(&attachment("b")).unwrap(), None);
    }

    #[test]
    fn concurrent_plugins_never_get_one_address_twice() {
        let dir = tempfile::tempdir().unwrap();
        let addresses: std::collections::HashSet<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|t| {
                    let leases = leases(dir.path(), "10.1.1.0/24");
                    scope.spawn(move || {
                        (0..20).map(|i| leases.acquire(&attachment(&format!("{t}-{i}"))).unwrap()).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(addresses.len(), 160);
    }
}
