//! Flows that the kernel translates, as it tells of them: who goes where, since when, and how much.
//!
//! What a backend's kernel does not keep is none, never a guess.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::{Family, Protocol};

/// Which flows are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowFilter {
    /// Their protocol.
    pub protocol: Protocol,
    /// What the client called; an unspecified address stands for every one of its family.
    pub service: SocketAddr,
    /// The client, or all.
    pub client: Option<SocketAddr>,
    /// No more than this many.
    pub most: usize,
}

impl FlowFilter {
    /// The family of the wanted flows.
    pub const fn family(&self) -> Family {
        Family::of(self.service.ip())
    }

    /// The address that was called, if it is a certain one.
    pub fn address(&self) -> Option<IpAddr> {
        Some(self.service.ip()).filter(|ip| !ip.is_unspecified())
    }

    /// Whether it was this Service that was called.
    pub fn admits_service(&self, service: SocketAddr) -> bool {
        service.port() == self.service.port()
            && Family::of(service.ip()) == self.family()
            && self.address().is_none_or(|ip| ip == service.ip())
    }

    /// Whether this client is meant. A socket that is bound to no address may have any.
    pub fn admits_client(&self, client: SocketAddr) -> bool {
        self.client.is_none_or(|wanted| {
            client.port() == wanted.port() && (client.ip().is_unspecified() || client.ip() == wanted.ip())
        })
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flows {
    /// In no order, as many as were asked for.
    pub all: Vec<Flow>,
    /// How many there are.
    pub total: usize,
    /// What could not be told, and why: one line each, for a person.
    pub notes: Vec<String>,
}

impl Flows {
    /// Counts a flow, and keeps it while there is room.
    pub fn push(&mut self, flow: Flow, wanted: &FlowFilter) {
        self.total += 1;
        if self.all.len() < wanted.most {
            self.all.push(flow);
        }
    }

    /// Adds what another part of the kernel told.
    pub fn append(&mut self, more: Self, wanted: &FlowFilter) {
        self.total += more.total;
        let room = wanted.most.saturating_sub(self.all.len());
        self.all.extend(more.all.into_iter().take(room));
        self.notes.extend(more.notes);
    }
}

/// Packets and bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Packets; of TCP sockets, segments.
    pub packets: u64,
    /// Bytes from the IP header on; of TCP sockets, of payload.
    pub bytes: u64,
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packets, {} bytes", self.packets, self.bytes)
    }
}

/// A translated flow. Times are how long ago something was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its protocol.
    pub protocol: Protocol,
    /// Who began it.
    pub client: SocketAddr,
    /// What was called.
    pub service: SocketAddr,
    /// The endpoint that it goes to.
    pub endpoint: SocketAddr,
    /// As whom the endpoint sees the client, if not as itself.
    pub source: Option<SocketAddr>,
    /// Whether it is being made, established or over.
    pub state: String,
    /// The first packet.
    pub begun: Option<Duration>,
    /// The last packet.
    pub last: Option<Duration>,
    /// How long from now the kernel remembers it, if no packet comes.
    pub kept: Option<Duration>,
    /// From the client to the endpoint.
    pub there: Option<Volume>,
    /// And back.
    pub back: Option<Volume>,
    /// Where the kernel keeps it.
    pub place: String,
}

impl Flow {
    /// When, in words.
    pub fn times(&self) -> String {
        let ago = |what, time: Option<Duration>| time.map(|time| format!("{what} {:.1} s ago", time.as_secs_f64()));
        let kept = self.kept.map(|time| format!("kept for {} s more", time.as_secs()));
        let all = [ago("begun", self.begun), ago("last packet", self.last), kept];
        all.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// One line.
impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {} => {}", self.protocol, self.client, self.service, self.endpoint)?;
        if let Some(source) = self.source {
            write!(f, " as {source}")?;
        }
        write!(f, ", {}", self.state)?;
        let times = self.times();
        if !times.is_empty() {
            write!(f, ", {times}")?;
        }
        for (direction, volume) in [("there", self.there), ("back", self.back)] {
            if let Some(volume) = volume {
                write!(f, ", {direction} {volume}")?;
            }
        }
        write!(f, " ({})", self.place)
    }
}
