//! What callers do: short and held flows over TCP and UDP, first packets of SCTP, and a transfer that never ends. Each exchange is told as it ends.

mod attempt;
mod sctp;
mod tcp;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, bail};

use crate::Exchange;
use crate::exchange::now;

/// How long a caller waits for anything.
const PATIENCE: Duration = Duration::from_secs(3);
/// Callers that share a rate of short flows: some may wait while the others keep it up.
const CALLERS: u32 = 16;

/// A kind of flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A new connection each time.
    TcpShort,
    /// One connection, now and then some bytes.
    TcpHeld,
    /// One connection, bytes all the time, each checked when it comes back.
    TcpBulk,
    /// A new socket for each datagram.
    UdpShort,
    /// One connected socket.
    UdpConnected,
    /// One socket that says the address with each datagram.
    UdpUnconnected,
    /// The first packet of a new association each time, and its answer.
    SctpShort,
}

impl Kind {
    const NAMES: [(&str, Self); 7] = [
        ("tcp-short", Self::TcpShort),
        ("tcp-held", Self::TcpHeld),
        ("tcp-bulk", Self::TcpBulk),
        ("udp-short", Self::UdpShort),
        ("udp-connected", Self::UdpConnected),
        ("udp-unconnected", Self::UdpUnconnected),
        ("sctp-short", Self::SctpShort),
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// Whether it is one flow that lasts: to the same server as long as that lives.
    pub fn lasts(self) -> bool {
        !matches!(self, Self::TcpShort | Self::UdpShort | Self::SctpShort)
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::NAMES.iter().find(|(name, _)| *name == text) {
            Some((_, kind)) => Ok(*kind),
            None => bail!("{text:?} is no kind of flow"),
        }
    }
}

/// A flow that was asked for.
#[derive(Clone)]
pub(crate) struct Flow {
    pub name: String,
    pub kind: Kind,
    pub to: SocketAddr,
    /// Exchanges a second.
    pub rate: u32,
    pub stop: Arc<AtomicBool>,
    pub told: Sender<Exchange>,
}

type Answer = Result<(String, String), String>;

impl Flow {
    /// Runs it in threads of its own until it is told to stop.
    pub(crate) fn start(self) {
        let callers = if self.kind.lasts() { 1 } else { CALLERS.min(self.rate) };
        for n in 0..callers {
            let flow = self.clone();
            thread::spawn(move || match flow.kind {
                Kind::TcpShort => flow.repeat(n, callers, || tcp::short(flow.to)),
                Kind::UdpShort => flow.repeat(n, callers, || udp::short(flow.to)),
                Kind::SctpShort => flow.repeat(n, callers, || sctp::short(flow.to)),
                Kind::TcpHeld => tcp::held(&flow),
                Kind::TcpBulk => tcp::bulk(&flow),
                Kind::UdpConnected => udp::held(&flow, true),
                Kind::UdpUnconnected => udp::held(&flow, false),
            });
        }
    }

    /// One exchange of the short kinds, now.
    pub(crate) fn once(&self) {
        let began = now();
        let answer = match self.kind {
            Kind::UdpShort | Kind::UdpConnected | Kind::UdpUnconnected => udp::short(self.to),
            Kind::SctpShort => sctp::short(self.to),
            _ => tcp::short(self.to),
        };
        self.tell(began, answer.map_err(|error| error.to_string()));
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn tell(&self, began: Duration, answer: Answer) {
        let _ = self.told.send(Exchange { flow: self.name.clone(), began, ended: now(), answer });
    }

    fn period(&self) -> Duration {
        Duration::from_secs(1) / self.rate
    }

    /// Every `callers`-th exchange of the flow's rate, beginning with the `n`-th.
    fn repeat(&self, n: u32, callers: u32, call: impl Fn() -> io::Result<(String, String)>) {
        let period = self.period() * callers;
        let mut due = Instant::now() + self.period() * n;
        while !self.stopped() {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let began = now();
            self.tell(began, call().map_err(|error| error.to_string()));
            due = (due + period).max(Instant::now());
        }
    }
}

/// `server caller rest` in its parts.
fn parse(text: &str) -> io::Result<(String, String)> {
    let mut words = text.split_whitespace().map(str::to_owned);
    let parts = words.next().zip(words.next());
    parts.ok_or_else(|| io::Error::other(format!("the answer {text:?} names nobody")))
}
