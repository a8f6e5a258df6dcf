//! `orlop-traffic`: the callers and servers of the chaos tests, one process in one place of a cluster.

use std::process::ExitCode;

fn main() -> ExitCode {
    match orlop_chaos::main(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("orlop-traffic: {error:#}");
            ExitCode::FAILURE
        }
    }
}
