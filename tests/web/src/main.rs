//! The test image's web server: hostname, client address, headers; echoes TCP and UDP.
//!
//! `orlop-web [--http 8080] [--tcp 9000] [--udp 9000]`. Threads and std only, so that the image is one small static file.
//!
//! `orlop-web resolve TYPE NAME` asks DNS instead, as a pod's libc would.
//!
//! | path | answer |
//! |---|---|
//! | `/` | `hostname client-address` |
//! | `/hostname` | the hostname |
//! | `/clientip` | `address:port` of the client |
//! | `/echo?msg=x` | `x` |
//! | `/headers` | the request's headers |
//! | `/env` | the environment, sorted |
//! | `/file?path=p` | a file's text |
//! | `/dial?host=h&port=p&protocol=tcp\|udp\|http&tries=n` | what `n` callers got, one line each |
//! | `/resolve?type=t&name=n&server=a&tcp=1` | what `resolve` finds (server and tcp may be absent), or why nothing |
//! | `/healthz` | `ok`, or 503 after `/unhealthy` |
//! | `/exit?code=n` | ends the process |

mod dial;
mod echo;
mod http;
mod resolve;

use std::process::ExitCode;
use std::thread;

/// Ports to serve on; `None` is off.
struct Ports {
    http: u16,
    tcp: u16,
    udp: u16,
}

fn parse() -> Result<Ports, String> {
    let mut ports = Ports { http: 8080, tcp: 9000, udp: 9000 };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a port"))?;
        let port = value.parse().map_err(|_| format!("{name}: {value:?} is no port"))?;
        match name.as_str() {
            "--http" => ports.http = port,
            "--tcp" => ports.tcp = port,
            "--udp" => ports.udp = port,
            _ => return Err(format!("unknown flag {name}; known are --http, --tcp, --udp")),
        }
    }
    Ok(ports)
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|first| first == "resolve").is_some() {
        return resolve::run(arguments);
    }
    let ports = match parse() {
        Ok(ports) => ports,
        Err(problem) => {
            eprintln!("orlop-web: {problem}");
            return ExitCode::from(2);
        }
    };
    end_on_sigterm();
    let tcp = thread::spawn(move || echo::tcp(ports.tcp));
    let udp = thread::spawn(move || echo::udp(ports.udp));
    let result = http::serve(ports.http);
    drop((tcp, udp));
    if let Err(problem) = result {
        eprintln!("orlop-web: HTTP on port {}: {problem}", ports.http);
    }
    ExitCode::FAILURE
}

/// Process 1 of a container gets no signal without a handler; ends cleanly so that a graceful kill is quick.
fn end_on_sigterm() {
    #![allow(unsafe_code)]
    extern "C" fn end(_signal: libc::c_int) {
        // SAFETY: _exit is async-signal-safe.
        unsafe { libc::_exit(0) }
    }
    // SAFETY: the handler only calls _exit.
    unsafe { libc::signal(libc::SIGTERM, end as *const () as libc::sighandler_t) };
}
