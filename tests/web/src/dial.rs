//! Calls others from inside a pod and says what they answered: how tests look at the network from a pod's point of view.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::time::Duration;

use crate::http::parameter;

const PATIENCE: Duration = Duration::from_secs(2);
const MOST_TRIES: u32 = 1000;

/// Answers `/dial`: one line for each try, the first line of the reply or `error: ...`.
pub fn dial(query: &str) -> String {
    let host = parameter(query, "host").unwrap_or_default();
    let port = parameter(query, "port").and_then(|port| port.parse().ok()).unwrap_or(80);
    let protocol = parameter(query, "protocol").unwrap_or_else(|| "http".into());
    let path = parameter(query, "path").unwrap_or_else(|| "/hostname".into());
    let tries = parameter(query, "tries").and_then(|tries| tries.parse().ok()).unwrap_or(1).min(MOST_TRIES);
    let mut lines = String::new();
    for _ in 0..tries {
        let reply = resolve(&host, port).and_then(|address| match protocol.as_str() {
            "udp" => udp(address),
            "tcp" => tcp(address),
            _ => http(address, &host, &path),
        });
        lines += &reply.unwrap_or_else(|problem| format!("error: {problem}"));
        lines.push('\n');
    }
    lines
}

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    (host, port).to_socket_addrs()?.next().ok_or_else(|| io::Error::other("the name has no address"))
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn http(address: SocketAddr, host: &str, path: &str) -> io::Result<String> {
    let mut stream = connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let body = reply.split_once("\r\n\r\n").map_or(reply.as_str(), |(_, body)| body);
    Ok(body.lines().next().unwrap_or_default().to_owned())
}

fn tcp(address: SocketAddr) -> io::Result<String> {
    let mut stream = connect(address)?;
    let mut buffer = [0; 256];
    let read = stream.read(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..read]).trim().to_owned())
}

fn udp(address: SocketAddr) -> io::Result<String> {
    let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(b"ping", address)?;
    let mut buffer = [0; 512];
    let (read, from) = socket.recv_from(&mut buffer)?;
    if from != address {
        return Err(io::Error::other(format!("the answer came from {from}, not from {address}")));
    }
    Ok(String::from_utf8_lossy(&buffer[..read]).into_owned())
}
