//! Callers in a network namespace: new connections over TCP and datagrams over UDP, and who answered.
//!
//! The echo server of the test image names itself first: over TCP with a line, over UDP with the first word.

use std::io::{self, Read as _};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use orlop_netns::NetNs;

/// How long a caller waits for anything.
const PATIENCE: Duration = Duration::from_secs(2);
/// Callers that share the work of a [`Load`]; enough that some may wait while the others keep up the rate.
const CALLERS: u32 = 40;

/// One new connection: the name of who answered.
pub fn tcp(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = Vec::new();
    let mut buffer = [0; 256];
    while !line.contains(&b'\n') {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.extend_from_slice(&buffer[..read]);
    }
    // A polite end: closing with unread bytes would send a reset.
    stream.shutdown(Shutdown::Write)?;
    while stream.read(&mut buffer)? > 0 {}
    Ok(String::from_utf8_lossy(&line).trim().to_owned())
}

/// One datagram from a new socket: the name of who answered.
pub fn udp(address: SocketAddr) -> io::Result<String> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // Connected, so that an answer from any other address is no answer.
    socket.connect(address)?;
    socket.send(b"ping")?;
    let mut buffer = [0; 512];
    let read = socket.recv(&mut buffer)?;
    let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

/// `count` calls one after the other from the namespace pinned at `netns`; a failed one is told as `error: ...`.
pub fn calls(
    netns: &Path,
    count: usize,
    address: SocketAddr,
    call: impl Fn(SocketAddr) -> io::Result<String> + Send + Sync,
) -> Result<Vec<String>> {
    let namespace = NetNs::open(netns).with_context(|| format!("opening {}", netns.display()))?;
    let all = || (0..count).map(|_| call(address).unwrap_or_else(|error| format!("error: {error}"))).collect();
    Ok(namespace.run(all)?)
}

/// One call of a [`Load`].
#[derive(Debug, Clone)]
pub struct Call {
    /// When it began.
    pub began: Instant,
    /// Who answered, or what went wrong.
    pub answer: Result<String, String>,
}

/// New connections at a steady rate from a namespace until it is ended.
pub struct Load {
    stop: Arc<AtomicBool>,
    calls: Arc<Mutex<Vec<Call>>>,
    callers: JoinHandle<()>,
}

impl Load {
    /// Starts `rate` calls a second.
    pub fn start(netns: &Path, rate: u32, address: SocketAddr) -> Result<Self> {
        let namespace = NetNs::open(netns).with_context(|| format!("opening {}", netns.display()))?;
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (stopped, log) = (stop.clone(), calls.clone());
        let callers = std::thread::spawn(move || {
            let work = || {
                // Threads begin in the namespace of the thread that makes them.
                std::thread::scope(|scope| {
                    for n in 0..CALLERS {
                        let (stopped, log) = (&stopped, &log);
                        scope.spawn(move || caller(n, rate, address, stopped, log));
                    }
                });
            };
            if let Err(error) = namespace.run(work) {
                eprintln!("entering the namespace: {error}");
            }
        });
        Ok(Self { stop, calls, callers })
    }

    /// Ends it; all calls in the order in which they began.
    pub fn end(self) -> Vec<Call> {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.callers.join();
        let mut calls = std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner));
        calls.sort_by_key(|call| call.began);
        calls
    }
}

fn caller(n: u32, rate: u32, address: SocketAddr, stop: &AtomicBool, log: &Mutex<Vec<Call>>) {
    let period = Duration::from_secs(1) * CALLERS / rate;
    let mut due = Instant::now() + period * n / CALLERS;
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let began = Instant::now();
        let answer = tcp(address).map_err(|error| error.to_string());
        log.lock().unwrap_or_else(PoisonError::into_inner).push(Call { began, answer });
        due = (due + period).max(Instant::now());
    }
}
