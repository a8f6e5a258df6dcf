//! The tests' image: one static program, packed as the archive that `docker save` writes, which containerd imports.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

/// Builds the guest program once and returns its path.
pub fn build_guest() -> PathBuf {
    let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../cri/tests/bed/guest.rs"));
    let text = std::fs::read(source).unwrap();
    let name = format!("guest-{}", hex(&Sha256::digest(&text)[..8]));
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
    if !program.exists() {
        // Under another name first: two tests may build at the same time.
        let partial = program.with_extension(std::process::id().to_string());
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let status = Command::new(rustc)
            .args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C", "strip=symbols", "-o"])
            .args([partial.as_os_str(), source.as_os_str()])
            .status()
            .unwrap();
        assert!(status.success(), "the guest program does not compile");
        std::fs::rename(partial, &program).unwrap();
    }
    program
}

/// Writes an image of one layer with `program` as `/guest`.
pub fn write(to: &Path, name: &str, program: &Path, entrypoint: &[&str]) {
    let mut layer = tar::Builder::new(Vec::new());
    for dir in ["tmp/", "etc/", "proc/", "sys/", "dev/"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(if dir == "tmp/" { 0o1777 } else { 0o755 });
        header.set_size(0);
        layer.append_data(&mut header, dir, std::io::empty()).unwrap();
    }
    layer.append_path_with_name(program, "guest").unwrap();
    let layer = layer.into_inner().unwrap();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": { "Entrypoint": entrypoint, "Env": ["PATH=/"], "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hex(&Sha256::digest(&layer)))] },
    });
    let config = serde_json::to_vec(&config).unwrap();
    let config_name = format!("{}.json", hex(&Sha256::digest(&config)));
    let manifest = serde_json::json!([{ "Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"] }]);
    let mut archive = tar::Builder::new(std::fs::File::create(to).unwrap());
    for (path, bytes) in [
        ("manifest.json", serde_json::to_vec(&manifest).unwrap()),
        (config_name.as_str(), config.clone()),
        ("layer.tar", layer),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, bytes.as_slice()).unwrap();
    }
    archive.finish().unwrap();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
