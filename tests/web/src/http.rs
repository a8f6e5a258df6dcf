//! A small HTTP/1.1 server: one thread for each connection, keep-alive.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::{dial, resolve};

static HEALTHY: AtomicBool = AtomicBool::new(true);
const LONGEST_HEADER: u64 = 64 << 10;

/// The machine's name, which in a pod is the pod's.
pub fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".into(), |name| name.trim().to_owned())
}

/// An address without the IPv6 form of IPv4.
pub fn plain(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, |v4| SocketAddr::new(v4.into(), address.port())),
        IpAddr::V4(_) => address,
    }
}

/// Serves until accepting fails for good.
pub fn serve(port: u16) -> io::Result<()> {
    let listener =
        TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))?;
    println!("orlop-web: {} serves HTTP on port {port}", hostname());
    for stream in listener.incoming().flatten() {
        let _ = thread::Builder::new().stack_size(128 << 10).spawn(move || connection(stream));
    }
    Ok(())
}

fn connection(stream: TcpStream) -> io::Result<()> {
    let client = plain(stream.peer_addr()?);
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut headers = Vec::new();
        let mut length = 0;
        let mut close = false;
        loop {
            let mut line = String::new();
            if (&mut reader).take(LONGEST_HEADER).read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            close |= lower.strip_prefix("connection:").is_some_and(|value| value.trim() == "close");
            headers.push(line);
            if headers.len() > 200 {
                return Ok(());
            }
        }
        io::copy(&mut (&mut reader).take(length), &mut io::sink())?;
        let request = headers.first().cloned().unwrap_or_default();
        let target = request.split(' ').nth(1).unwrap_or("/").to_owned();
        println!("{client} {request}");
        let (status, body) = answer(&target, client, &headers);
        let connection = if close { "close" } else { "keep-alive" };
        write!(
            writer,
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
            body.len()
        )?;
        if close {
            return Ok(());
        }
    }
}

/// A query parameter, percent-decoded.
pub fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn answer(target: &str, client: SocketAddr, headers: &[String]) -> (&'static str, String) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let ok = |body: String| ("200 OK", body);
    match path {
        "/" => ok(format!("{} {}\n", hostname(), client.ip())),
        "/hostname" => ok(hostname()),
        "/clientip" => ok(client.to_string()),
        "/echo" => ok(parameter(query, "msg").unwrap_or_default()),
        "/headers" => ok(headers[1..].join("\n") + "\n"),
        "/env" => {
            let mut lines: Vec<String> = std::env::vars().map(|(k, v)| format!("{k}={v}\n")).collect();
            lines.sort();
            ok(lines.concat())
        }
        "/file" => match std::fs::read_to_string(parameter(query, "path").unwrap_or_default()) {
            Ok(text) => ok(text),
            Err(problem) => ("404 Not Found", format!("{problem}\n")),
        },
        "/dial" => ok(dial::dial(query)),
        "/resolve" => ok(resolve::page(query)),
        "/unhealthy" => {
            HEALTHY.store(false, Ordering::Relaxed);
            ok("unhealthy from now on\n".into())
        }
        "/healthz" if HEALTHY.load(Ordering::Relaxed) => ok("ok".into()),
        "/healthz" => ("503 Service Unavailable", "unhealthy".into()),
        "/exit" => std::process::exit(parameter(query, "code").and_then(|code| code.parse().ok()).unwrap_or(0)),
        _ => ("404 Not Found", format!("no such path: {path}\n")),
    }
}
