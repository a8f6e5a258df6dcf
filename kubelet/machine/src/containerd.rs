//! A machine's containerd: its configuration, its start, and the images that it begins with.

use crate::cgroup::V1;
use crate::daemon::{Daemon, tail};
use crate::layout::NodeLayout;
use crate::options::Options;
use crate::spaces;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The pause image; kubelet/node and images/ know it by the same name.
const SANDBOX_IMAGE: &str = "localhost/orlop/pause:v1";

/// Starts containerd if it does not run, and waits until it answers.
pub(crate) fn start(node: &NodeLayout, options: &Options, v1: &[V1]) -> Result<()> {
    let file = node.run().join("containerd.toml");
    for dir in [node.cni_conf(), node.lib().join("containerd"), node.lib().join("certs.d")] {
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    }
    fs::write(&file, config(node, &options.bin())).with_context(|| format!("writing {}", file.display()))?;
    let daemon = daemon(options, &file);
    if daemon.running(node) && UnixStream::connect(node.containerd_socket()).is_err() {
        // Its shims live on where containerd died; they are part of its group and come back through its state.
        fs::remove_file(node.run().join("containerd.started")).ok();
    }
    daemon.ensure(node, v1, None)?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while UnixStream::connect(node.containerd_socket()).is_err() {
        let log = daemon.log(node);
        ensure!(daemon.running(node), "containerd on {} ended:\n{}", node.name(), tail(&log));
        if Instant::now() > deadline {
            bail!("containerd on {} does not answer after 30 s ({}):\n{}", node.name(), log.display(), tail(&log));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn daemon(options: &Options, config: &Path) -> Daemon {
    Daemon {
        name: "containerd",
        program: options.bin().join("containerd"),
        args: vec!["--config".into(), config.into()],
        path: vec![options.bin()],
    }
}

/// containerd's configuration: everything that it writes is in the machine's own folders.
fn config(node: &NodeLayout, tools: &Path) -> String {
    let quoted = |path: PathBuf| format!("{:?}", path.display().to_string());
    format!(
        r#"version = 2
root = {root}
state = {state}
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
  address = {socket}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{SANDBOX_IMAGE}"
  # Without CAP_SYS_RESOURCE a score below the daemon's own is refused, and the container with it.
  restrict_oom_score_adj = true
  disable_apparmor = true
  tolerate_missing_hugetlb_controller = true

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = {runc}
      SystemdCgroup = false

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {cni_bin}
    conf_dir = {cni_conf}

  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = {certs}
"#,
        root = quoted(node.lib().join("containerd")),
        state = quoted(node.run().join("containerd")),
        socket = quoted(node.containerd_socket()),
        runc = quoted(tools.join("runc")),
        cni_bin = quoted(node.cluster.cni_bin()),
        cni_conf = quoted(node.cni_conf()),
        certs = quoted(node.lib().join("certs.d")),
    )
}

/// Gives the machine every archive of the images folder that it does not have yet.
pub(crate) fn import_images(node: &NodeLayout, options: &Options, v1: &[V1]) -> Result<()> {
    let folder = node.lib().join("images");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    for archive in archives(&options.images_dir)? {
        let metadata = fs::metadata(&archive).with_context(|| format!("reading {}", archive.display()))?;
        let stamp = format!("{} {:?}", metadata.len(), metadata.modified().ok());
        let record = folder.join(archive.file_name().unwrap_or_default());
        if fs::read_to_string(&record).is_ok_and(|had| had == stamp) {
            continue;
        }
        import(node, options, v1, &archive)?;
        fs::write(&record, stamp).with_context(|| format!("writing {}", record.display()))?;
    }
    Ok(())
}

fn import(node: &NodeLayout, options: &Options, v1: &[V1], archive: &Path) -> Result<()> {
    let mut command = Command::new(options.bin().join("ctr"));
    command.arg("--address").arg(node.containerd_socket()).args(["--namespace", "k8s.io", "images", "import"]);
    command.arg(archive).stdin(Stdio::null());
    let mut entry = spaces::entry(node, v1, "import")?;
    entry.new_session = false;
    entry.apply(&mut command);
    let output = command.output().with_context(|| format!("running {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "importing {} on {}: {}",
        archive.display(),
        node.name(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// The image archives to import, in a stable order.
pub(crate) fn archives(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("reading images folder {}", dir.display()))?;
    let mut found: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "tar"))
        .collect();
    found.sort();
    Ok(found)
}
