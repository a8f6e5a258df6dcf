//! The command line of `orlop-traffic`: `[--netns PATH] serve NAME PORT...` or `[--netns PATH] call`.
//!
//! A caller takes its orders from its standard input and tells each exchange on its standard output; both kinds of process end with
//! their standard input, so that none outlives the test that started it.
//!
//! | order | does |
//! |---|---|
//! | `start NAME KIND ADDRESS RATE` | begins a flow |
//! | `once NAME KIND ADDRESS COUNT` | so many exchanges one after the other, beside whatever else is under way |
//! | `stop` | ends every flow |

use std::io::{self, BufRead as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use anyhow::{Context as _, Result, bail};
use orlop_netns::NetNs;

use crate::Exchange;
use crate::flow::Flow;
use crate::server;

/// Runs the program to its end.
pub fn main(arguments: impl Iterator<Item = String>) -> Result<()> {
    let mut arguments: Vec<String> = arguments.collect();
    if arguments.first().is_some_and(|word| word == "--netns") && arguments.len() > 2 {
        let path = arguments.remove(1);
        arguments.remove(0);
        // Threads begin in the namespace of the thread that makes them.
        return NetNs::open(Path::new(&path))?.run(|| run(&arguments))?;
    }
    run(&arguments)
}

fn run(arguments: &[String]) -> Result<()> {
    match arguments {
        [word, name, ports @ ..] if word == "serve" => {
            let number = |port: &String| port.parse().with_context(|| format!("{port:?} is no port"));
            let ports = ports.iter().map(number).collect::<Result<Vec<u16>>>()?;
            for port in &ports {
                server::start(name, *port).with_context(|| format!("serving port {port}"))?;
            }
            server::start_sctp(name, &ports).context("serving SCTP")?;
            println!("serving");
            io::copy(&mut io::stdin(), &mut io::sink())?;
            Ok(())
        }
        [word] if word == "call" => call(),
        _ => bail!("say `serve NAME PORT...` or `call`"),
    }
}

fn call() -> Result<()> {
    let (told, exchanges) = channel::<Exchange>();
    thread::spawn(move || {
        let mut out = io::stdout().lock();
        while let Ok(exchange) = exchanges.recv() {
            // Nobody reads any more: the test has ended.
            if writeln!(out, "{exchange}").is_err() {
                std::process::exit(0);
            }
        }
    });
    let mut stop = Arc::new(AtomicBool::new(false));
    for order in io::stdin().lock().lines() {
        let order = order?;
        let words: Vec<&str> = order.split(' ').collect();
        match words[..] {
            ["start", name, kind, to, rate] => flow(name, kind, to, rate, &stop, &told)?.start(),
            ["once", name, kind, to, count] => {
                let flow = flow(name, kind, to, count, &stop, &told)?;
                thread::spawn(move || (0..flow.rate).for_each(|_| flow.once()));
            }
            ["stop"] => {
                stop.store(true, Ordering::Relaxed);
                stop = Arc::new(AtomicBool::new(false));
            }
            _ => bail!("{order:?} is no order"),
        }
    }
    Ok(())
}

fn flow(name: &str, kind: &str, to: &str, rate: &str, stop: &Arc<AtomicBool>, told: &Sender<Exchange>) -> Result<Flow> {
    let to = to.parse().with_context(|| format!("{to:?} is no address"))?;
    let rate = rate.parse().with_context(|| format!("{rate:?} is no rate"))?;
    Ok(Flow { name: name.into(), kind: kind.parse()?, to, rate, stop: stop.clone(), told: told.clone() })
}
