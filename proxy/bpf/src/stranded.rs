//! UDP sockets that stay connected to an endpoint which has gone.
//!
//! Once connected, such a socket passes no hook again and would send into the void for ever. It is destroyed: its owner
//! gets `ECONNABORTED`, as from any host that went away, and connects anew. The kernel finds it in the network namespace
//! it lives in, which is that of some process in the node's cgroup.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use orlop_ebpf::{Address, Backend, Connection, Frontend, FrontendKey, MemberKey, Peer, Tally, UDP};

use crate::Error;
use crate::map::Map;
use crate::netns::{inside, namespaces};
use crate::sock_diag::SockDiag;

/// The maps that tell where sockets are and may be.
#[derive(Debug)]
pub struct Maps {
    connected: Map<u64, Connection>,
    frontends: Map<FrontendKey, Frontend>,
    members: Map<MemberKey, Tally>,
}

/// Looks for such sockets when asked to, in a thread of its own.
#[derive(Debug)]
pub struct Sweeper {
    orders: SyncSender<()>,
}

impl Sweeper {
    /// Starts the thread, in the node's network namespace; it ends with the sweeper.
    pub fn start(pins: &Path, cgroup_root: PathBuf) -> Result<Self, Error> {
        let maps = Maps {
            connected: Map::open(pins, "CONNECTED_UDP")?,
            frontends: Map::open(pins, "FRONTENDS")?,
            members: Map::open(pins, "MEMBERS")?,
        };
        let (orders, queue) = sync_channel(1);
        thread::Builder::new()
            .name("ebpf-stranded".into())
            .spawn(move || follow(&queue, &maps, &cgroup_root))
            .map_err(Error::Thread)?;
        Ok(Self { orders })
    }

    /// Endpoints have gone: look soon.
    pub fn sweep(&self) {
        // A full queue is an order that has not been taken yet, which sees what this one would.
        if let Err(TrySendError::Disconnected(())) = self.orders.try_send(()) {
            tracing::error!("nobody destroys UDP sockets of removed endpoints any more");
        }
    }
}

fn follow(queue: &Receiver<()>, maps: &Maps, cgroup_root: &Path) {
    while queue.recv().is_ok() {
        match sweep(maps, cgroup_root) {
            Ok(0) => {}
            Ok(destroyed) => tracing::info!(destroyed, "destroyed UDP sockets of removed endpoints"),
            Err(error) => tracing::warn!(%error, "UDP sockets may be stuck with removed endpoints"),
        }
    }
}

fn sweep(maps: &Maps, cgroup_root: &Path) -> Result<usize, Error> {
    let stranded = maps.stranded()?;
    if stranded.is_empty() {
        return Ok(0);
    }
    let wanted: HashSet<(u64, Backend)> = stranded.into_iter().collect();
    let mut destroyed = Vec::new();
    for (_, namespace) in namespaces(cgroup_root) {
        // One that cannot be entered must not keep the others from being looked at.
        match destroy(&namespace, &wanted) {
            Ok(cookies) => destroyed.extend(cookies),
            Err(error) => tracing::warn!(%error, "cannot look for UDP sockets in a network namespace"),
        }
    }
    // They may stay open for long, and need not be looked for again.
    maps.connected.delete_each(&destroyed)?;
    Ok(destroyed.len())
}

impl Maps {
    /// The sockets whose endpoint their Service does not have any more.
    fn stranded(&self) -> Result<Vec<(u64, Backend)>, Error> {
        let mut stranded = Vec::new();
        for (cookie, connection) in self.connected.dump()? {
            if !self.serves(&connection.peer, &connection.backend)? {
                stranded.push((cookie, connection.backend));
            }
        }
        Ok(stranded)
    }

    fn serves(&self, peer: &Peer, backend: &Backend) -> Result<bool, Error> {
        let key = |address: Address| FrontendKey { address, port: peer.port, protocol: UDP, zero: 0 };
        for key in [key(peer.address), key(peer.address.any())] {
            if let Some(frontend) = self.frontends.get(&key)? {
                return Ok(self.members.get(&MemberKey { set: frontend.set, backend: *backend })?.is_some());
            }
        }
        Ok(false)
    }
}

/// Destroys the wanted sockets of one namespace.
fn destroy(namespace: &File, wanted: &HashSet<(u64, Backend)>) -> io::Result<Vec<u64>> {
    inside(namespace, || {
        let diag = SockDiag::open()?;
        let mut destroyed = Vec::new();
        for socket in diag.connected_udp()?.iter().filter(|socket| wanted.contains(&(socket.cookie, socket.to))) {
            diag.destroy(socket)?;
            destroyed.push(socket.cookie);
        }
        Ok(destroyed)
    })
}
