//! Flows over TCP.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;

use super::{Flow, PATIENCE, attempt, parse};
use crate::exchange::now;

/// Bytes of a transfer that are sent and checked at once.
const BLOCK: usize = 16 << 10;

fn connect(to: SocketAddr) -> io::Result<(TcpStream, (String, String))> {
    let mut stream = attempt::connect(to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut line = Vec::new();
    let mut byte = [0];
    while byte[0] != b'\n' {
        stream.read_exact(&mut byte).map_err(|error| attempt::told(error, &stream))?;
        line.push(byte[0]);
    }
    Ok((stream, parse(&String::from_utf8_lossy(&line))?))
}

/// Connects, reads who answers, and ends politely.
pub(super) fn short(to: SocketAddr) -> io::Result<(String, String)> {
    let (mut stream, who) = connect(to)?;
    stream.shutdown(Shutdown::Write)?;
    while stream.read(&mut [0; 256])? > 0 {}
    Ok(who)
}

/// One connection; made again if it breaks, which is told.
pub(super) fn held(flow: &Flow) {
    while !flow.stopped() {
        let result = connect(flow.to).and_then(|(mut stream, who)| {
            let mut count = 0_u64;
            while !flow.stopped() {
                let began = now();
                count += 1;
                let mut back = [0; 8];
                let result = stream.write_all(&count.to_be_bytes()).and_then(|()| stream.read_exact(&mut back));
                result.map_err(|error| attempt::told(error, &stream))?;
                if back != count.to_be_bytes() {
                    return Err(io::Error::other("other bytes came back"));
                }
                flow.tell(began, Ok(who.clone()));
                thread::sleep(flow.period());
            }
            Ok(())
        });
        if let Err(error) = result {
            flow.tell(now(), Err(format!("the held connection broke: {error}")));
            thread::sleep(flow.period());
        }
    }
}

/// A transfer both ways; an exchange is the time between two blocks that came back.
pub(super) fn bulk(flow: &Flow) {
    while !flow.stopped() {
        let result = connect(flow.to).and_then(|(mut stream, who)| {
            let mut sender = stream.try_clone()?;
            thread::scope(|scope| {
                scope.spawn(move || {
                    for n in 0.. {
                        if flow.stopped() || sender.write_all(&block(n)).is_err() {
                            let _ = sender.shutdown(Shutdown::Write);
                            return;
                        }
                        thread::sleep(flow.period());
                    }
                });
                let mut back = vec![0; BLOCK];
                for n in 0.. {
                    let began = now();
                    match stream.read_exact(&mut back) {
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && flow.stopped() => break,
                        other => other.map_err(|error| attempt::told(error, &stream))?,
                    }
                    if back != block(n) {
                        let _ = stream.shutdown(Shutdown::Both);
                        return Err(io::Error::other("other bytes came back"));
                    }
                    flow.tell(began, Ok(who.clone()));
                }
                Ok(())
            })
        });
        if let Err(error) = result {
            flow.tell(now(), Err(format!("the transfer broke: {error}")));
            thread::sleep(flow.period());
        }
    }
}

/// The `n`-th block: a lost, doubled or foreign one is noticed.
fn block(n: u64) -> Vec<u8> {
    let seed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
    seed.iter().copied().cycle().take(BLOCK).collect()
}
