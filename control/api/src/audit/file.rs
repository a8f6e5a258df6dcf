//! The log's file, which is set aside when it is large and taken away when it is old, under the names that lumberjack gives
//! (`audit-2006-01-02T15-04-05.000.log`).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};

const MEGABYTE: u64 = 1 << 20;
const TIME: &str = "%Y-%m-%dT%H-%M-%S%.3f";

/// How large, how many and how old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Days that an old file is kept (`--audit-log-maxage`); 0 is for ever.
    pub age: u32,
    /// Old files that are kept (`--audit-log-maxbackup`); 0 is all.
    pub backups: u32,
    /// Megabytes after which a file is old (`--audit-log-maxsize`); 0 is never.
    pub size: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { age: 366, backups: 100, size: 100 }
    }
}

/// The file that is written.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    /// Bytes; none for no limit.
    max: Option<u64>,
    age: SignedDuration,
    backups: usize,
    open: Option<File>,
    size: u64,
    /// A piece of a line stands at the end and cannot be taken away.
    torn: bool,
}

impl LogFile {
    /// Makes sure that there is such a file and that it can be written.
    pub fn new(path: &Path, limits: Limits) -> io::Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut file = Self {
            path: path.to_owned(),
            max: Some(u64::from(limits.size) * MEGABYTE).filter(|max| *max > 0),
            age: SignedDuration::from_hours(24 * i64::from(limits.age)),
            backups: usize::try_from(limits.backups).unwrap_or(usize::MAX),
            open: None,
            size: 0,
            torn: false,
        };
        file.open()?;
        file.take_away(Timestamp::now());
        Ok(file)
    }

    /// Appends a line, whole or not at all.
    pub fn write(&mut self, line: &[u8], now: Timestamp) -> io::Result<()> {
        let length = line.len() as u64;
        if let Some(max) = self.max {
            if length > max {
                let why = format!("write length {length} exceeds maximum file size {max}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
            self.open()?;
            if self.size + length > max {
                self.rotate(now)?;
            }
        }
        self.open()?;
        let (torn, size) = (self.torn, self.size);
        let Some(file) = &mut self.open else { return Err(io::ErrorKind::NotFound.into()) };
        let end: &[u8] = if torn { b"\n" } else { b"" };
        match file.write_all(end).and_then(|()| file.write_all(line)) {
            Ok(()) => {
                self.torn = false;
                Ok(())
            }
            Err(error) => {
                // What was begun is no event.
                self.torn = file.set_len(size).is_err() || torn;
                Err(error)
            }
        }
    }

    fn open(&mut self) -> io::Result<&mut File> {
        let file = match self.open.take() {
            Some(file) => file,
            None => OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?,
        };
        // Somebody may have emptied it.
        self.size = file.metadata()?.len();
        Ok(self.open.insert(file))
    }

    /// Sets the file aside and begins another with its permissions.
    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        let mode = self.open()?.metadata()?.permissions().mode();
        let mut at = now;
        let mut aside = self.named(at);
        while aside.exists() {
            // Two within a millisecond are two.
            at += SignedDuration::from_millis(1);
            aside = self.named(at);
        }
        match fs::rename(&self.path, &aside) {
            // Somebody has taken it away already.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        (self.open, self.torn) = (None, false);
        self.open()?.set_permissions(fs::Permissions::from_mode(mode & 0o7777))?;
        self.take_away(now);
        Ok(())
    }

    /// What comes before and after the time in an old file's name.
    fn around(&self) -> (String, String) {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        match name.rfind('.') {
            Some(at) => (format!("{}-", &name[..at]), name[at..].to_owned()),
            None => (format!("{name}-"), String::new()),
        }
    }

    fn named(&self, at: Timestamp) -> PathBuf {
        let (before, after) = self.around();
        self.path.with_file_name(format!("{before}{}{after}", at.strftime(TIME)))
    }

    /// Removes old files that are too many or too old. What cannot be removed is tried again when the next file is set aside.
    fn take_away(&self, now: Timestamp) {
        let (before, after) = self.around();
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let of = |name: &str| {
            let time = name.strip_prefix(&before)?.strip_suffix(&after)?;
            DateTime::strptime(TIME, time).ok()
        };
        let names = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let mut old: Vec<(DateTime, String)> = names.filter_map(|name| Some((of(&name)?, name))).collect();
        old.sort();
        old.reverse();
        let oldest = jiff::tz::TimeZone::UTC.to_datetime(now.checked_sub(self.age).unwrap_or(Timestamp::MIN));
        for (index, (at, name)) in old.iter().enumerate() {
            let surplus = self.backups > 0 && index >= self.backups;
            let outdated = !self.age.is_zero() && *at < oldest;
            if (surplus || outdated)
                && let Err(error) = fs::remove_file(folder.join(name))
            {
                tracing::warn!(%error, name, "an old audit log cannot be removed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_large_file_is_set_aside_and_too_many_are_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/audit.log");
        let mut file = LogFile::new(&path, Limits { age: 0, backups: 2, size: 1 }).unwrap();
        let logs = folder.path().join("logs");
        assert_eq!(fs::metadata(&logs).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        fs::write(logs.join("audit-notes.log"), "kept").unwrap();
        let line = vec![b'x'; 600 << 10];
        let now = at("2026-11-22T15:04:05.678Z");
        for _ in 0..4 {
            file.write(&line, now).unwrap();
        }
        let (second, third) = ("audit-2026-11-22T15-04-05.679.log", "audit-2026-11-22T15-04-05.680.log");
        assert_eq!(names(&logs), [second, third, "audit-notes.log", "audit.log"]);
        assert_eq!(fs::metadata(&path).unwrap().len(), line.len() as u64);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        let long = file.write(&vec![b'x'; (1 << 20) + 1], now).unwrap_err();
        assert_eq!(long.to_string(), "write length 1048577 exceeds maximum file size 1048576");
    }

    #[test]
    fn files_that_are_too_old_are_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        for day in 1..=9 {
            fs::write(folder.path().join(format!("audit-2026-11-0{day}T00-00-00.000.log")), "").unwrap();
        }
        let mut file = LogFile::new(&path, Limits { age: 0, backups: 0, size: 1 }).unwrap();
        assert_eq!(names(folder.path()).len(), 10);
        file.age = SignedDuration::from_hours(48);
        file.take_away(at("2026-11-09T12:00:00Z"));
        let left = ["audit-2026-11-08T00-00-00.000.log", "audit-2026-11-09T00-00-00.000.log", "audit.log"];
        assert_eq!(names(folder.path()), left);
    }

    #[test]
    fn what_is_there_is_written_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        fs::write(&path, "before\n").unwrap();
        let mut file = LogFile::new(&path, Limits { size: 0, ..Limits::default() }).unwrap();
        file.write(b"after\n", Timestamp::now()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before\nafter\n");
        assert!(LogFile::new(folder.path(), Limits::default()).is_err(), "a folder is no file");
    }

    #[test]
    fn a_line_that_cannot_be_written_is_tried_no_further() {
        // Writing to it always fails for want of space, and it cannot be cut either.
        let mut file = LogFile::new(Path::new("/dev/full"), Limits { size: 0, ..Limits::default() }).unwrap();
        let full = file.write(b"line\n", Timestamp::now()).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert!(file.torn, "the next line begins on a line of its own");
    }
}
