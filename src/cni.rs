//! `orlop-cni` and `loopback`: the same binary under the plugin's names.

use std::io::Read as _;
use std::process::ExitCode;

/// Carries out one CNI call.
pub fn run(name: &str) -> ExitCode {
    let mut stdin = Vec::new();
    if let Err(error) = std::io::stdin().read_to_end(&mut stdin) {
        eprintln!("{name}: reading the configuration: {error}");
        return ExitCode::FAILURE;
    }
    let output = orlop_cni::run(name, |variable| std::env::var(variable).ok(), &stdin);
    print!("{}", output.stdout);
    if output.code == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
