//! Echo over TCP and UDP. The first line of each answer names the server, so that a caller knows which pod it reached:
//! TCP greets with `hostname\n` and then echoes; UDP answers `hostname client-address payload`.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use crate::http::hostname;

/// Echoes TCP connections until the process ends.
pub fn tcp(port: u16) {
    let listener =
        match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|_| TcpListener::bind(("0.0.0.0", port))) {
            Ok(listener) => listener,
            Err(problem) => return eprintln!("orlop-web: TCP echo on port {port}: {problem}"),
        };
    for stream in listener.incoming().flatten() {
        let _ = thread::Builder::new().stack_size(64 << 10).spawn(move || echo(stream));
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(format!("{}\n", hostname()).as_bytes())?;
    let mut buffer = [0; 16 << 10];
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..read])?;
    }
}

/// Answers UDP datagrams until the process ends.
pub fn udp(port: u16) {
    let socket = match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|_| UdpSocket::bind(("0.0.0.0", port))) {
        Ok(socket) => socket,
        Err(problem) => return eprintln!("orlop-web: UDP echo on port {port}: {problem}"),
    };
    let mut buffer = [0; 64 << 10];
    loop {
        let Ok((read, from)) = socket.recv_from(&mut buffer) else { continue };
        let from_text = crate::http::plain(from);
        let mut answer = format!("{} {from_text} ", hostname()).into_bytes();
        answer.extend_from_slice(&buffer[..read]);
        let _ = socket.send_to(&answer, from);
    }
}
