//! Facts of the network namespace the agent runs in, and visits to those of pods.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::Error;
use crate::sys;

/// The cookie that `bpf_get_netns_cookie` gives for the node's own sockets.
pub fn cookie() -> Result<u64, Error> {
    sys::netns_cookie().map_err(Error::bpf("read the cookie of this network namespace"))
}

/// `net.ipv4.ip_local_port_range`; the kernel's default where it cannot be read.
pub fn local_ports() -> (u16, u16) {
    let parse = |text: String| {
        let mut numbers = text.split_whitespace().map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok().and_then(parse).unwrap_or((32_768, 60_999))
}

/// The network namespaces of this thread and of every process in a cgroup, each once, by inode.
pub fn namespaces(cgroup: &Path) -> HashMap<u64, File> {
    let mut namespaces = HashMap::new();
    let mut add = |path: &str| {
        // A process that ended meanwhile needs none.
        let Ok(inode) = fs::metadata(path).map(|metadata| metadata.ino()) else { return };
        if let std::collections::hash_map::Entry::Vacant(entry) = namespaces.entry(inode)
            && let Ok(file) = File::open(path)
        {
            entry.insert(file);
        }
    };
    add("/proc/thread-self/ns/net");
    let mut groups = vec![cgroup.to_owned()];
    while let Some(group) = groups.pop() {
        let processes = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        processes.lines().for_each(|process| add(&format!("/proc/{process}/ns/net")));
        let entries = fs::read_dir(&group).into_iter().flatten().flatten();
        groups.extend(entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
    }
    namespaces
}

/// Does something inside a network namespace. A thread enters it, so that this one stays where it is.
pub fn inside<T: Send>(namespace: &File, job: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let work = || -> io::Result<T> {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        job()
    };
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
}
