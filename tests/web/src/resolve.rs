//! `orlop-web resolve TYPE NAME [--server ADDRESS] [--tcp]`: what a pod's libc would find, one line for each answer. Names are
//! tried with the search list and `ndots` of /etc/resolv.conf, as resolv.conf(5) says.
//!
//! The exit code is 0 with answers, 1 without, and 2 if nobody answered.

mod conf;
mod message;

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use crate::http::parameter;

use conf::Conf;
use message::{Answer, NO_ERROR, NX_DOMAIN};

/// How long a server may take, and how often it is asked, as libc has it.
const TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPTS: usize = 2;
const PORT: u16 = 53;

/// What is asked.
struct Asked {
    kind: u16,
    name: String,
    server: Option<IpAddr>,
    tcp: bool,
}

/// How a search ended.
enum Found {
    Lines(Vec<String>),
    /// `NXDOMAIN` or `NODATA`.
    Nothing(&'static str),
    Failed(String),
}

/// Runs the subcommand.
pub fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    let found = match parse(arguments) {
        Ok(asked) => search(&asked),
        Err(problem) => Found::Failed(problem),
    };
    match found {
        Found::Lines(lines) => {
            lines.iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        Found::Nothing(why) => {
            eprintln!("{why}");
            ExitCode::from(1)
        }
        Found::Failed(why) => {
            eprintln!("orlop-web resolve: {why}");
            ExitCode::from(2)
        }
    }
}

/// Answers `/resolve`: the lines, or one line that says why there are none.
pub fn page(query: &str) -> String {
    let text = |name| parameter(query, name).unwrap_or_default();
    let Some(kind) = message::kind(&text("type")) else { return "unknown type\n".into() };
    let asked = Asked { kind, name: text("name"), server: text("server").parse().ok(), tcp: !text("tcp").is_empty() };
    match search(&asked) {
        Found::Lines(lines) => lines.iter().map(|line| format!("{line}\n")).collect(),
        Found::Nothing(why) => format!("{why}\n"),
        Found::Failed(why) => format!("failed: {why}\n"),
    }
}

/// Tries the names in order until one has an answer.
fn search(asked: &Asked) -> Found {
    let conf = Conf::read("/etc/resolv.conf");
    let servers: Vec<IpAddr> = asked.server.map_or_else(|| conf.servers.clone(), |server| vec![server]);
    let mut failed = None;
    let mut nothing = "NXDOMAIN";
    for name in conf.candidates(&asked.name) {
        match ask_all(&servers, asked, &name) {
            Ok(answer) if answer.code == NO_ERROR && !answer.lines.is_empty() => return Found::Lines(answer.lines),
            // A name that is there with another type ends nothing; libc goes on likewise, and remembers it.
            Ok(answer) if answer.code == NO_ERROR => nothing = "NODATA",
            Ok(answer) if answer.code == NX_DOMAIN => {}
            Ok(answer) => failed = Some(format!("response code {}", answer.code)),
            Err(error) => failed = Some(error.to_string()),
        }
    }
    failed.map_or(Found::Nothing(nothing), Found::Failed)
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Asked, String> {
    let usage = || "resolve TYPE NAME [--server ADDRESS] [--tcp]".to_owned();
    let kind = arguments.next().ok_or_else(usage)?;
    let kind = message::kind(&kind).ok_or_else(|| format!("unknown type {kind}"))?;
    let name = arguments.next().ok_or_else(usage)?;
    let (mut server, mut tcp) = (None, false);
    while let Some(flag) = arguments.next() {
        match flag.as_str() {
            "--tcp" => tcp = true,
            "--server" => server = Some(arguments.next().and_then(|a| a.parse().ok()).ok_or_else(usage)?),
            _ => return Err(usage()),
        }
    }
    Ok(Asked { kind, name, server, tcp })
}

fn ask_all(servers: &[IpAddr], asked: &Asked, name: &str) -> io::Result<Answer> {
    let mut last = io::Error::other("no name server in /etc/resolv.conf");
    for _ in 0..ATTEMPTS {
        for server in servers {
            let server = SocketAddr::new(*server, PORT);
            let question = message::question(name, asked.kind).ok_or_else(|| io::Error::other("no domain name"))?;
            let answer = if asked.tcp { over_tcp(server, &question) } else { over_udp(server, &question) };
            match answer {
                // Cut: the whole of it comes over TCP.
                Ok(answer) if answer.truncated => return over_tcp(server, &question),
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
    }
    Err(last)
}

fn over_udp(server: SocketAddr, question: &[u8]) -> io::Result<Answer> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    // As musl does: not connected, and what comes from somewhere else is thrown away.
    socket.send_to(question, server)?;
    let mut buffer = [0; 4096];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        let bytes = buffer.get(..length).unwrap_or_default();
        if from == server && bytes.get(..2) == question.get(..2) {
            return message::answer(bytes).ok_or_else(|| io::Error::other("no DNS message"));
        }
    }
}

fn over_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut bytes)?;
    message::answer(&bytes).ok_or_else(|| io::Error::other("no DNS message"))
}
