//! Servers that say who they are and whom they see, and then echo. Over TCP: `name caller\n`, then whatever comes; over UDP:
//! `name caller payload`; over SCTP an INIT is answered with them in the cookie.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use socket2::SockRef;

use crate::sctp::{self, Packet};

/// Room for what many callers send at once.
const BUFFER: usize = 4 << 20;
/// So many connections may wait to be taken; the kernel drops others' last word after having answered their first.
const BACKLOG: i32 = 4096;

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
    SockRef::from(&listener).listen(BACKLOG)?;
    SockRef::from(&socket).set_recv_buffer_size(BUFFER)?;
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

/// Answers the INITs to these ports, in threads that last as long as the process.
pub(crate) fn start_sctp(name: &str, ports: &[u16]) -> io::Result<()> {
    for any in [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()] {
        let socket = match sctp::socket(any) {
            // A kernel without IPv6.
            Err(_) if any.is_ipv6() => return Ok(()),
            other => other?,
        };
        SockRef::from(&socket).set_recv_buffer_size(BUFFER)?;
        let (name, ports) = (name.to_owned(), ports.to_vec());
        thread::spawn(move || {
            let mut buffer = [0; 2048];
            loop {
                let Ok((read, from)) = socket.recv_from(&mut buffer) else { continue };
                let Some(init) = Packet::read(any, &buffer[..read]).filter(|init| ports.contains(&init.port)) else {
                    continue;
                };
                let caller = SocketAddr::new(from.ip(), init.source_port);
                if let Some(answer) = init.answer(&format!("{name}:{} {caller}", init.port)) {
                    let _ = socket.send_to(&answer.bytes(), from);
                }
            }
        });
    }
    Ok(())
}
