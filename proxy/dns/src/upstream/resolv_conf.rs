//! The machine's name servers: resolv.conf(5), read again when it changed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How often the file is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// More name servers than this are not asked, as by libc's MAXNS.
const MOST: usize = 3;

/// A file that may change.
#[derive(Debug)]
pub(crate) struct ResolvConf {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    looked: Option<Instant>,
    modified: Option<SystemTime>,
    servers: Vec<IpAddr>,
    generation: u64,
}

impl ResolvConf {
    pub fn new(path: PathBuf) -> Self {
        Self { path, state: Mutex::default() }
    }

    /// The name servers, and a number that grows when they change.
    pub fn servers(&self) -> (Vec<IpAddr>, u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
            state.looked = Some(Instant::now());
            let modified = std::fs::metadata(&self.path).and_then(|metadata| metadata.modified()).ok();
            if modified != state.modified || modified.is_none() {
                let text = std::fs::read_to_string(&self.path).unwrap_or_default();
                let servers = parse(&text);
                if servers != state.servers {
                    state.servers = servers;
                    state.generation += 1;
                }
                state.modified = modified;
            }
        }
        (state.servers.clone(), state.generation)
    }
}

fn parse(text: &str) -> Vec<IpAddr> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let servers = lines.filter_map(|rest| rest.split_whitespace().next()?.parse().ok());
    servers.take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_as_libc_reads_them() {
        let text =
            "# one\nsearch lan\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 # two\nnameserver x\noptions edns0\n";
        assert_eq!(parse(text), ["192.0.2.1".parse::<IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]);
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(ResolvConf::new(file.path().to_owned()).servers().0, Vec::<IpAddr>::new());
        assert_eq!(ResolvConf::new("/does/not/exist".into()).servers().0, Vec::<IpAddr>::new());
    }
}
