//! `cargo xtask fuzz [TARGET]`: builds the targets of tests/fuzz with coverage counters and runs each for a bounded time. What they found
//! worth keeping stays in target/fuzz/corpus, an input that breaks something in target/fuzz/artifacts.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::run;

const TARGETS: [&str; 7] = ["json", "protobuf", "patch", "selectors", "cel", "definition", "request"];
/// What libFuzzer needs of the compiler (as cargo-fuzz passes it).
const COUNTERS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1";
/// MiB that a target may have.
const MEMORY: u32 = 2048;
/// Bytes of the longest input.
const LENGTH: u32 = 16 << 10;
/// Seconds that one input may take.
const TIMEOUT: u32 = 15;

/// What to run, and for how long.
#[derive(Args)]
pub struct Fuzz {
    /// Only this target (json, protobuf, patch, selectors, cel, definition, request).
    target: Option<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

impl Fuzz {
    /// Runs; fails with the first target that found something.
    pub fn run(&self) -> Result<()> {
        let wanted = |name: &str| self.target.as_deref().is_none_or(|wanted| wanted == name);
        let targets: Vec<&str> = TARGETS.into_iter().filter(|name| wanted(name)).collect();
        ensure!(!targets.is_empty(), "no such target; there are {}", TARGETS.join(", "));
        ensure!(
            run::succeeds(Command::new("c++").arg("--version")),
            "libFuzzer is C++: install a compiler (apt-get install g++)"
        );
        let folder = run::target().join("fuzz");
        let sources = run::root().join("tests/fuzz");
        run::step("building the fuzz targets (some minutes the first time)");
        let mut build = run::cargo_build();
        build
            .current_dir(&sources)
            .args(["--release", "--target", "x86_64-unknown-linux-gnu", "--target-dir"])
            .arg(&folder);
        run::run(build.env("RUSTFLAGS", COUNTERS))?;
        for name in targets {
            run::step(&format!("{name}, for {} s", self.seconds));
            let (corpus, found) = (folder.join("corpus").join(name), folder.join("artifacts").join(name));
            for directory in [&corpus, &found] {
                std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
            }
            // The store of a server of its own; what one that was killed left goes, too.
            let scratch = folder.join("scratch");
            let _ = std::fs::remove_dir_all(&scratch);
            std::fs::create_dir_all(&scratch).with_context(|| format!("making {}", scratch.display()))?;
            let mut fuzz = Command::new(folder.join("x86_64-unknown-linux-gnu/release").join(name));
            fuzz.arg(&corpus).arg(sources.join("seeds").join(name)).env("TMPDIR", &scratch);
            fuzz.arg(format!("-artifact_prefix={}/", found.display())).arg(format!("-max_total_time={}", self.seconds));
            fuzz.arg(format!("-rss_limit_mb={MEMORY}"))
                .arg(format!("-max_len={LENGTH}"))
                .arg(format!("-timeout={TIMEOUT}"));
            run::run(fuzz.args(["-print_final_stats=1", "-verbosity=0"]))
                .with_context(|| format!("the input that did it is in {}", found.display()))?;
            let _ = std::fs::remove_dir_all(&scratch);
        }
        Ok(())
    }
}
