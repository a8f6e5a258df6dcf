//! The images, the test ones and the product's own, built here without a registry: static binaries, packed as OCI archives that
//! containerd imports.
//!
//! Layout: OCI Image Format v1.1 (`oci-layout`, `index.json`, `blobs/sha256/...`). The same binaries give the same bytes.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{build, run};

/// Package, name of the image, user.
const IMAGES: &[(&str, &str, &str)] =
    &[("orlop-web", "localhost/orlop/web:v1", "0"), ("orlop-pause", "localhost/orlop/pause:v1", "65535")];

/// A shell with the usual tools, among them `tar`: Debian's static busybox.
const SHELL: &str = "localhost/orlop/busybox:v1";

/// The product's own image: the binary, which is every command of it.
const PRODUCT: (&str, &str, &str) = ("orlop", concat!("localhost/orlop/orlop:v", env!("CARGO_PKG_VERSION")), "0");

/// Builds the test images.
pub fn run() -> Result<()> {
    run::step("building the test images");
    build(IMAGES, &run::images())?;
    shell(&run::images().join("orlop-busybox.tar")).with_context(|| format!("packing {SHELL}"))
}

/// Builds the image that `orlop manifest` names.
pub fn product() -> Result<()> {
    build::run(true)?;
    let folder = run::target().join("dist");
    pack_all(&[PRODUCT], &folder)?;
    run::step(&format!("{} is {}", PRODUCT.1, folder.join("orlop.tar").display()));
    Ok(())
}

/// The product's image for tests: of the binary that is tested, without its debug information and with the libraries that it wants.
pub fn tested(binary: &Path) -> Result<PathBuf> {
    let (folder, (_, name, user)) = (run::target().join("tested"), PRODUCT);
    fs::create_dir_all(&folder)?;
    let (stripped, archive) = (folder.join("orlop"), folder.join("orlop.tar"));
    let modified = |path: &Path| path.metadata().and_then(|metadata| metadata.modified());
    if modified(&archive).ok() > modified(binary).ok() {
        return Ok(archive);
    }
    run::step("packing the image of orlop that is tested");
    run::run(Command::new("strip").arg("--strip-debug").arg("-o").arg(&stripped).arg(binary))?;
    let list = run::quiet(Command::new("ldd").arg(binary))?;
    let libraries: Vec<PathBuf> =
        list.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect();
    pack(&stripped, &libraries, name, user, &archive).with_context(|| format!("packing {name}"))?;
    Ok(archive)
}

/// Builds static binaries and packs them.
fn build(images: &[(&str, &str, &str)], folder: &Path) -> Result<()> {
    let mut cargo = build::shipped();
    cargo.arg("--quiet");
    for (package, ..) in images {
        cargo.args(["--package", package]);
    }
    run::run(&mut cargo)?;
    pack_all(images, folder)
}

/// Packs static binaries that are built.
fn pack_all(images: &[(&str, &str, &str)], folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for (package, name, user) in images {
        let archive = folder.join(format!("{package}.tar"));
        pack(&build::folder(true).join(package), &[], name, user, &archive)
            .with_context(|| format!("packing {name}"))?;
    }
    Ok(())
}

/// An image of one binary, and of libraries where they are on this machine.
fn pack(binary: &Path, libraries: &[PathBuf], name: &str, user: &str, archive: &Path) -> Result<()> {
    let program = binary.file_name().context("a binary has a name")?.to_string_lossy().into_owned();
    let mut bytes = Vec::new();
    File::open(binary).with_context(|| format!("{}", binary.display()))?.read_to_end(&mut bytes)?;

    let mut layer = skeleton(&["tmp/", "etc/", "proc/", "sys/", "dev/"])?;
    append(&mut layer, &program, 0o755, tar::EntryType::Regular, &bytes)?;
    for library in libraries {
        let path = library.strip_prefix("/").unwrap_or(library).to_string_lossy();
        append(&mut layer, &path, 0o755, tar::EntryType::Regular, &fs::read(library)?)?;
    }
    let start = json!({"Entrypoint": [format!("/{program}")], "User": user, "WorkingDir": "/", "Env": ["PATH=/"]});
    write(layer.into_inner()?, &start, name, archive)
}

/// The image of the shell.
fn shell(archive: &Path) -> Result<()> {
    let binary = run::tools().join("root/bin/busybox");
    let bytes = fs::read(&binary).with_context(|| format!("{}: run `cargo xtask setup`", binary.display()))?;
    let mut layer = skeleton(&["tmp/", "etc/", "proc/", "sys/", "dev/", "bin/", "root/"])?;
    append(&mut layer, "bin/busybox", 0o755, tar::EntryType::Regular, &bytes)?;
    for applet in run::quiet(Command::new(&binary).arg("--list"))?.lines().filter(|applet| *applet != "busybox") {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        header.set_mtime(0);
        layer.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    let start = json!({"Cmd": ["sh"], "User": "0", "WorkingDir": "/", "Env": ["PATH=/bin"]});
    write(layer.into_inner()?, &start, SHELL, archive)
}

/// A layer with what every image needs.
fn skeleton(folders: &[&str]) -> Result<tar::Builder<Vec<u8>>> {
    let mut layer = tar::Builder::new(Vec::new());
    for folder in folders {
        append(&mut layer, folder, if *folder == "tmp/" { 0o1777 } else { 0o755 }, tar::EntryType::Directory, &[])?;
    }
    let passwd = b"root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n";
    append(&mut layer, "etc/passwd", 0o644, tar::EntryType::Regular, passwd)?;
    Ok(layer)
}

/// Writes the archive of an image of one layer.
fn write(layer: Vec<u8>, start: &Value, name: &str, archive: &Path) -> Result<()> {
    let diff_id = digest(&layer);

    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": start,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let config = serde_json::to_vec(&config)?;
    let descriptor = |kind: &str, blob: &[u8]| json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest(blob), "size": blob.len()});
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", &config), "layers": [descriptor("layer.v1.tar", &layer)],
    }))?;
    let mut entry: Value = descriptor("manifest.v1+json", &manifest);
    entry["annotations"] = json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name});
    entry["platform"] = json!({"architecture": architecture, "os": "linux"});
    let index = serde_json::to_vec(&json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry],
    }))?;

    let mut image = tar::Builder::new(Vec::new());
    append(&mut image, "oci-layout", 0o644, tar::EntryType::Regular, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    append(&mut image, "index.json", 0o644, tar::EntryType::Regular, &index)?;
    for blob in [&layer, &config, &manifest] {
        let path = format!("blobs/{}", digest(blob).replace(':', "/"));
        append(&mut image, &path, 0o644, tar::EntryType::Regular, blob)?;
    }
    let temporary = archive.with_extension("new");
    File::create(&temporary)?.write_all(&image.into_inner()?)?;
    fs::rename(temporary, archive)?;
    Ok(())
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, kind: tar::EntryType, bytes: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    tar.append_data(&mut header, path, bytes)?;
    Ok(())
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    format!("sha256:{}", hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}
