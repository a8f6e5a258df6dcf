//! Servers that say who they are and whom they see, and then echo. Over TCP: `name caller\n`, then whatever comes; over UDP:
//! `name caller payload`.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

/// One address without the IPv6 form of IPv4.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Serves a port over TCP and UDP, in threads that last as long as the process.
pub(crate) fn start(name: &str, port: u16) -> io::Result<()> {
    let name = format!("{name}:{port}");
    let any = (Ipv6Addr::UNSPECIFIED, port);
    let listener = TcpListener::bind(any).or_else(|_| TcpListener::bind(("0.0.0.0", port)))?;
    let socket = UdpSocket::bind(any).or_else(|_| UdpSocket::bind(("0.0.0.0", port)))?;
    let tcp = name.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let name = tcp.clone();
            let _ = thread::Builder::new().stack_size(64 << 10).spawn(move || echo(&name, stream));
        }
    });
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        loop {
            let Ok((read, from)) = socket.recv_from(&mut buffer) else { continue };
            let mut answer = format!("{name} {} ", plain(from)).into_bytes();
            answer.extend_from_slice(&buffer[..read]);
            let _ = socket.send_to(&answer, from);
        }
    });
    Ok(())
}

fn echo(name: &str, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(format!("{name} {}\n", plain(stream.peer_addr()?)).as_bytes())?;
    let mut buffer = [0; 16 << 10];
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..read])?;
    }
}
