//! `cargo xtask codegen`: writes the schema table of `control/schema` from what package registries carry.
//!
//! The packages are fetched by their own clients into `target/codegen`; `xtask/codegen/table.py` reads them and writes JSON, which is
//! compressed here. The result is committed and reproducible: `--check` compares instead of writing.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

const MINOR: &str = "v1.36";
/// Python packages, the folder they unpack to, and the versions that carry `MINOR`.
const WHEELS: [(&str, &str); 3] = [
    ("kubernetes_validate", "kubernetes-validate==1.37.0"),
    ("kubernetes", "kubernetes==36.0.3"),
    ("lightkube_models", "lightkube-models==1.36.3.8"),
];
const K8S_PB: &str = "0.9.0";

/// Arguments of `cargo xtask codegen`.
#[derive(Debug, clap::Args)]
pub struct Codegen {
    /// Compare with the committed files instead of writing them.
    #[arg(long)]
    check: bool,
}

impl Codegen {
    /// Generates or checks the table.
    pub fn run(&self) -> Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent folder")?.to_path_buf();
        let cache = root.join("target/codegen");
        fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
        for (folder, requirement) in WHEELS {
            fetch_wheel(&cache, folder, requirement)?;
        }
        fetch_k8s_pb(&cache)?;
        let out = cache.join("out");
        fs::create_dir_all(&out)?;
        run(Command::new("python3")
            .arg(root.join("xtask/codegen/table.py"))
            .args([&cache])
            .arg(MINOR)
            .arg(root.join("xtask/codegen"))
            .arg(&out))?;
        let mut stale = Vec::new();
        for (json, name) in
            [("table", format!("{MINOR}.json.zst")), ("descriptions", format!("{MINOR}.descriptions.json.zst"))]
        {
            let text = fs::read(out.join(json).with_extension("json"))?;
            let file = root.join("control/schema/table").join(&name);
            if self.check {
                if decompress(&file).ok().as_ref() != Some(&text) {
                    stale.push(name);
                }
                continue;
            }
            let packed = zstd::encode_all(text.as_slice(), 19)?;
            println!("{name}: {} KiB, {} KiB compressed", text.len() / 1024, packed.len() / 1024);
            fs::write(&file, packed).with_context(|| format!("write {}", file.display()))?;
        }
        if !stale.is_empty() {
            bail!("stale: {}; run `cargo xtask codegen` and commit", stale.join(", "));
        }
        Ok(())
    }
}

fn decompress(file: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    zstd::Decoder::new(fs::File::open(file)?)?.read_to_end(&mut text)?;
    Ok(text)
}

/// Downloads a wheel with pip and unpacks it, once.
fn fetch_wheel(cache: &Path, folder: &str, requirement: &str) -> Result<()> {
    let (target, stamp) = (cache.join(folder), cache.join(format!("{requirement}.done")));
    if stamp.exists() {
        return Ok(());
    }
    let wheels = cache.join(format!("{folder}.wheel"));
    for old in [&target, &wheels] {
        if old.exists() {
            fs::remove_dir_all(old)?;
        }
    }
    run(Command::new("python3")
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--dest",
        ])
        .arg(&wheels)
        .arg(requirement))?;
    let wheel =
        fs::read_dir(&wheels)?.next().with_context(|| format!("pip downloaded nothing for {requirement}"))??.path();
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(&target))?;
    fs::write(stamp, "")?;
    Ok(())
}

/// Lets cargo fetch the crate k8s-pb and links its sources into the cache.
fn fetch_k8s_pb(cache: &Path) -> Result<()> {
    let link = cache.join("k8s-pb");
    let stamp = cache.join(format!("k8s-pb=={K8S_PB}.done"));
    if stamp.exists() && link.exists() {
        return Ok(());
    }
    let project = cache.join("k8s-pb.fetch");
    fs::create_dir_all(project.join("src"))?;
    let manifest = project.join("Cargo.toml");
    fs::write(project.join("src/lib.rs"), "")?;
    fs::write(
        &manifest,
        format!(
            "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\nk8s-pb = \"={K8S_PB}\"\n"
        ),
    )?;
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(&manifest)
        .output()
        .context("run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo could not fetch k8s-pb {K8S_PB}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let package = packages.iter().find(|p| p["name"] == "k8s-pb").context("cargo metadata does not list k8s-pb")?;
    let sources = PathBuf::from(package["manifest_path"].as_str().context("k8s-pb has no manifest path")?);
    if link.is_symlink() {
        fs::remove_file(&link)?;
    }
    std::os::unix::fs::symlink(sources.parent().context("k8s-pb has no folder")?, &link)?;
    fs::write(stamp, "")?;
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed with {status}");
    }
    Ok(())
}
