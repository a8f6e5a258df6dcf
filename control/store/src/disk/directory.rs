//! A real directory, held under a lock file so that no second process opens the same store.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Disk, DiskFile, SyncPoint};
use crate::StoreError;

const LOCK: &str = "lock";

/// A directory of the file system; the lock lasts as long as this value.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Opens the directory, creating it (mode 0700: the store holds Secrets) where it is missing, and locks it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        let failed = |doing| move |error: io::Error| StoreError::Storage { doing, reason: error.to_string() };
        create(&path).map_err(failed("creating the store's directory"))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(failed("opening the lock file"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked(path.display().to_string())),
            Err(TryLockError::Error(error)) => Err(failed("locking the store's directory")(error)),
        }
    }
}

/// Creates a directory and makes its own entry durable.
fn create(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        return File::open(parent)?.sync_all();
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

impl Disk for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            if let Ok(name) = entry?.file_name().into_string()
                && name != LOCK
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(BufReader::with_capacity(256 << 10, File::open(self.path.join(name))?)))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(self.path.join(name))?;
        Ok(Box::new(RealFile { file, end: 0 }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).open(self.path.join(name))?;
        let end = file.metadata()?.len();
        Ok(Box::new(RealFile { file, end }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_dir(&self, _: SyncPoint) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

struct RealFile {
    file: File,
    end: u64,
}

impl DiskFile for RealFile {
    fn append(&mut self, data: &[u8]) -> io::Result<()> {
        self.overwrite(self.end, data)?;
        self.end += data.len() as u64;
        Ok(())
    }

    fn extend(&mut self, zeros: Range<u64>) -> io::Result<()> {
        const ZEROS: &[u8] = &[0; 64 << 10];
        let write = || {
            let mut at = zeros.start;
            while at < zeros.end {
                let piece = ZEROS.len().min((zeros.end - at) as usize);
                self.file.write_all_at(&ZEROS[..piece], at)?;
                at += piece as u64;
            }
            self.file.sync_data()
        };
        match write() {
            Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Ok(()),
            written => written,
        }
    }

    fn overwrite(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.end = len;
        Ok(())
    }

    fn sync(&mut self, _: SyncPoint) -> io::Result<()> {
        self.file.flush()?;
        self.file.sync_data()
    }
}
