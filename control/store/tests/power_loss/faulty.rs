//! A disk in memory that keeps exactly what was synced, and of the rest whatever a seed says: every sector of every file, every
//! length and every directory entry on its own. Sectors are written wholly or not at all, as real ones are.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Cursor, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use orlop_store::disk::{Disk, DiskFile, SyncPoint};

const SECTOR: usize = 512;

/// A small deterministic random source (splitmix64).
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// What survives of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Survives {
    Nothing,
    Everything,
    /// Each piece with a chance of one half.
    Some(u64),
}

/// What goes wrong once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// The machine stops; every later operation fails.
    Death,
    /// A sync fails, and the kernel forgets that the pages were dirty (what PostgreSQL met in 2018); a write finds no space
    /// after half of it.
    Error,
}

#[derive(Clone, Default)]
struct Inode {
    cache: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    len_dirty: bool,
}

impl Inode {
    fn write(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if end > self.cache.len() {
            self.cache.resize(end, 0);
        }
        // Also when a sync failed: writing the pages again writes the length again.
        self.len_dirty |= end > self.durable.len();
        self.cache[offset..end].copy_from_slice(data);
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    /// The file after power was lost.
    fn survive(&self, mut keep: impl FnMut() -> bool, random: &mut Random) -> Vec<u8> {
        let (old, new) = (self.durable.len(), self.cache.len());
        let mut len = old;
        if self.len_dirty && keep() {
            len = new;
        } else if self.len_dirty && keep() {
            len = old.min(new) + random.below(old.abs_diff(new));
        }
        let mut data = self.durable.clone();
        data.resize(len, 0);
        for sector in &self.dirty {
            let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(len).min(new));
            if from < to && keep() {
                data[from..to].copy_from_slice(&self.cache[from..to]);
            }
        }
        data
    }
}

#[derive(Clone)]
enum Entry {
    Create(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

impl Entry {
    fn apply(&self, directory: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, inode) => {
                directory.insert(name.clone(), *inode);
            }
            Self::Rename(from, to, inode) => {
                directory.remove(from);
                directory.insert(to.clone(), *inode);
            }
            Self::Remove(name) => {
                directory.remove(name);
            }
        }
    }
}

#[derive(Default)]
struct Inner {
    inodes: Vec<Inode>,
    cache: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    pending: Vec<Entry>,
    operations: usize,
    fault: Option<(usize, Fault)>,
    dead: bool,
    process: usize,
    omitted: Option<SyncPoint>,
    reached: HashSet<SyncPoint>,
}

/// One process's view of the disk.
#[derive(Clone)]
pub struct FaultyDisk {
    inner: Arc<Mutex<Inner>>,
    process: usize,
}

/// What an operation is to do after it was counted.
#[derive(PartialEq)]
enum Verdict {
    Work,
    Fail,
    DieAfter,
}

fn dead() -> io::Error {
    io::Error::other("the machine is dead")
}

impl FaultyDisk {
    /// An empty disk on which syncs of kind `omitted` do nothing.
    pub fn new(omitted: Option<SyncPoint>) -> Self {
        let inner = Inner { omitted, ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(inner)), process: 0 }
    }

    /// Lets the operation so many from now go wrong.
    pub fn plan(&self, after: usize, fault: Fault) {
        let mut inner = self.inner.lock().unwrap();
        inner.fault = Some((inner.operations + after, fault));
    }

    pub fn operations(&self) -> usize {
        self.inner.lock().unwrap().operations
    }

    pub fn is_dead(&self) -> bool {
        self.inner.lock().unwrap().dead
    }

    /// Which kinds of sync were asked for so far.
    pub fn reached(&self) -> HashSet<SyncPoint> {
        self.inner.lock().unwrap().reached.clone()
    }

    /// The same machine after `kill -9`: what was written is still in the page cache.
    pub fn after_kill(&self) -> Self {
        let mut inner = self.inner.lock().unwrap();
        inner.process += 1;
        inner.dead = false;
        inner.fault = None;
        Self { inner: self.inner.clone(), process: inner.process }
    }

    /// The machine after power came back.
    pub fn after_power_loss(&self, survives: Survives) -> Self {
        let inner = self.inner.lock().unwrap();
        let mut random = Random(if let Survives::Some(seed) = survives { seed } else { 0 });
        let mut length = random.clone();
        let mut keep = move || match survives {
            Survives::Nothing => false,
            Survives::Everything => true,
            Survives::Some(_) => random.next() & 1 == 1,
        };
        let mut directory = inner.durable.clone();
        inner.pending.iter().filter(|_| keep()).for_each(|entry| entry.apply(&mut directory));
        let mut after = Inner { omitted: inner.omitted, reached: inner.reached.clone(), ..Inner::default() };
        for (name, inode) in directory {
            let data = inner.inodes[inode].survive(&mut keep, &mut length);
            after.durable.insert(name, after.inodes.len());
            after.inodes.push(Inode { cache: data.clone(), durable: data, ..Inode::default() });
        }
        after.cache = after.durable.clone();
        Self { inner: Arc::new(Mutex::new(after)), process: 0 }
    }

    /// Changes one byte of a file, as a decaying disk does.
    pub fn damage(&self, name: &str, offset: usize) {
        let mut inner = self.inner.lock().unwrap();
        let inode = inner.cache[name];
        inner.inodes[inode].cache[offset] ^= 0x55;
        inner.inodes[inode].durable[offset] ^= 0x55;
    }

    pub fn content(&self, name: &str) -> Vec<u8> {
        let inner = self.inner.lock().unwrap();
        inner.inodes[inner.cache[name]].cache.clone()
    }

    fn step(&self) -> io::Result<(MutexGuard<'_, Inner>, Verdict)> {
        let mut inner = self.inner.lock().unwrap();
        if inner.dead || inner.process != self.process {
            return Err(dead());
        }
        inner.operations += 1;
        let verdict = match inner.fault {
            Some((at, fault)) if at == inner.operations => {
                inner.dead = fault == Fault::Death;
                if inner.dead { Verdict::DieAfter } else { Verdict::Fail }
            }
            _ => Verdict::Work,
        };
        Ok((inner, verdict))
    }

    fn entry(&self, make: impl FnOnce(&mut Inner) -> Entry) -> io::Result<()> {
        let (mut inner, verdict) = self.step()?;
        if verdict == Verdict::Fail {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let entry = make(&mut inner);
        entry.apply(&mut inner.cache);
        inner.pending.push(entry);
        if verdict == Verdict::DieAfter { Err(dead()) } else { Ok(()) }
    }

    fn file(&self, name: &str) -> io::Result<usize> {
        let inner = self.inner.lock().unwrap();
        inner.cache.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for FaultyDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.inner.lock().unwrap().cache.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let inode = self.file(name)?;
        Ok(Box::new(Cursor::new(self.inner.lock().unwrap().inodes[inode].cache.clone())))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut inode = 0;
        self.entry(|inner| {
            inode = inner.inodes.len();
            inner.inodes.push(Inode::default());
            Entry::Create(name.to_owned(), inode)
        })?;
        Ok(Box::new(FaultyFile { disk: self.clone(), inode, end: 0 }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.file(name)?;
        let end = self.inner.lock().unwrap().inodes[inode].cache.len();
        Ok(Box::new(FaultyFile { disk: self.clone(), inode, end }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let inode = self.file(from)?;
        self.entry(|_| Entry::Rename(from.to_owned(), to.to_owned(), inode))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.file(name)?;
        self.entry(|_| Entry::Remove(name.to_owned()))
    }

    fn sync_dir(&self, point: SyncPoint) -> io::Result<()> {
        let (mut inner, verdict) = self.step()?;
        inner.reached.insert(point);
        match verdict {
            Verdict::Fail => return Err(io::Error::other("input/output error")),
            Verdict::DieAfter => return Err(dead()),
            Verdict::Work => {}
        }
        if inner.omitted != Some(point) {
            inner.durable = inner.cache.clone();
            inner.pending.clear();
        }
        Ok(())
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    inode: usize,
    end: usize,
}

impl FaultyFile {
    fn change(&self, change: impl FnOnce(&mut Inode, bool)) -> io::Result<()> {
        let (mut inner, verdict) = self.disk.step()?;
        change(&mut inner.inodes[self.inode], verdict == Verdict::Fail);
        match verdict {
            Verdict::Work => Ok(()),
            Verdict::Fail => Err(io::ErrorKind::StorageFull.into()),
            Verdict::DieAfter => Err(dead()),
        }
    }
}

impl DiskFile for FaultyFile {
    fn append(&mut self, data: &[u8]) -> io::Result<()> {
        let end = self.end;
        self.end += data.len();
        self.change(|inode, full| {
            // Where there are blocks already there is room.
            let room = inode.cache.len().saturating_sub(end).max(data.len() / 2);
            let written = if full { data.len().min(room) } else { data.len() };
            inode.write(end, &data[..written]);
        })
    }

    fn extend(&mut self, zeros: Range<u64>) -> io::Result<()> {
        self.change(|inode, full| {
            let count = (zeros.end - zeros.start) as usize;
            inode.write(zeros.start as usize, &vec![0; if full { count / 2 } else { count }]);
        })
        .or_else(|error| if error.kind() == io::ErrorKind::StorageFull { Ok(()) } else { Err(error) })
    }

    fn overwrite(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(|inode, full| {
            if !full {
                inode.write(offset as usize, data);
            }
        })
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.end = len as usize;
        self.change(|inode, full| {
            if !full {
                inode.cache.truncate(len as usize);
                inode.len_dirty = true;
                // The rest of the last sector is zeroed.
                inode.dirty.insert(len as usize / SECTOR);
            }
        })
    }

    fn sync(&mut self, point: SyncPoint) -> io::Result<()> {
        let (mut inner, verdict) = self.disk.step()?;
        inner.reached.insert(point);
        let omitted = inner.omitted == Some(point);
        let inode = &mut inner.inodes[self.inode];
        match verdict {
            Verdict::DieAfter => return Err(dead()),
            Verdict::Fail => {
                inode.dirty.clear();
                inode.len_dirty = false;
                return Err(io::Error::other("input/output error"));
            }
            Verdict::Work if omitted => return Ok(()),
            Verdict::Work => {}
        }
        if inode.len_dirty {
            let len = inode.cache.len();
            inode.durable.resize(len, 0);
            inode.len_dirty = false;
        }
        for sector in std::mem::take(&mut inode.dirty) {
            let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(inode.durable.len()).min(inode.cache.len()));
            if from < to {
                inode.durable[from..to].copy_from_slice(&inode.cache[from..to]);
            }
        }
        Ok(())
    }
}
