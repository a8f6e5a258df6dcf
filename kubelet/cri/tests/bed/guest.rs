//! What the containers of the tests run: one static program, built by the test bed with `rustc`, that understands a few verbs.
//! Verbs are separated by `;`. It uses nothing but std and two C functions.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

static TERMINATED: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
}

extern "C" fn on_term(_: i32) {
    TERMINATED.store(true, Ordering::SeqCst);
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for verb in arguments.split(|argument| argument == ";") {
        run(&verb.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

fn run(verb: &[&str]) {
    match verb {
        // The sandbox's process: waits for the end and reaps orphans.
        ["pause"] => {
            unsafe { signal(15, on_term as *const () as usize) };
            while !TERMINATED.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
                while unsafe { waitpid(-1, std::ptr::null_mut(), 1) } > 0 {}
            }
        }
        ["echo", words @ ..] => println!("{}", words.join(" ")),
        // So many numbered lines of 100 bytes, each after a moment.
        ["count", lines] => for line in 0..lines.parse::<u32>().unwrap() {
            println!("{line:099}");
            std::thread::sleep(Duration::from_micros(500));
        },
        ["env"] => std::env::vars().for_each(|(name, value)| println!("{name}={value}")),
        ["cat", path] => match std::fs::read_to_string(path) {
            Ok(text) => print!("{text}"),
            Err(error) => println!("{path}: {error}"),
        },
        ["write", path, text] => {
            std::fs::write(path, text).unwrap_or_else(|error| println!("{path}: {error}"));
        }
        ["append", path, text] => {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
            writeln!(file, "{text}").unwrap();
        }
        ["remove", path] => std::fs::remove_file(path).unwrap_or_default(),
        ["exists", path] => std::process::exit(i32::from(!std::path::Path::new(path).exists())),
        ["await", path] => while !std::path::Path::new(path).exists() {
            std::thread::sleep(Duration::from_millis(10));
        },
        ["sleep", milliseconds] => std::thread::sleep(Duration::from_millis(milliseconds.parse().unwrap())),
        ["exit", code] => std::process::exit(code.parse().unwrap()),
        // Runs until SIGTERM, then says so and goes on with the next verb.
        ["serve", port] => {
            unsafe { signal(15, on_term as *const () as usize) };
            let listener = TcpListener::bind(format!("0.0.0.0:{port}")).unwrap();
            listener.set_nonblocking(true).unwrap();
            println!("serving");
            while !TERMINATED.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((mut stream, _)) => {
                        stream.set_nonblocking(false).unwrap();
                        let mut request = [0; 1024];
                        let n = stream.read(&mut request).unwrap_or(0);
                        let path = String::from_utf8_lossy(&request[..n]).split(' ').nth(1).unwrap_or("/").to_owned();
                        // A path that names a file answers 500 while the file exists.
                        let status = if path != "/" && std::path::Path::new(&path).exists() { "500 Sick" } else { "200 OK" };
                        let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 3\r\nConnection: close\r\n\r\nhi\n");
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
            println!("terminated");
        }
        // Waits for SIGTERM.
        ["wait"] => {
            unsafe { signal(15, on_term as *const () as usize) };
            while !TERMINATED.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            println!("terminated");
        }
        other => {
            eprintln!("no such verb: {other:?}");
            std::process::exit(64);
        }
    }
}
