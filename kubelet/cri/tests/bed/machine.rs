//! A machine for one test: the test's own process again, inside network, mount, PID, UTS and cgroup namespaces of its own, with
//! a real containerd on a tmpfs. Whatever the test starts dies with it, also when it is killed: the PID namespace ends, and the
//! tmpfs and the network end with the namespaces. Only empty cgroups can stay, and the next run of the test removes them.
//!
//! Needs root, and containerd, ctr and runc in the folder `bin` of what `ORLOP_TOOLS` names (`cargo xtask setup` makes one).

#[path = "image.rs"]
mod image;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const CONTROLLERS: [&str; 8] = ["cpu", "cpuacct", "cpuset", "memory", "pids", "devices", "freezer", "blkio"];
/// Everything that a machine writes lies here, on a tmpfs that only it sees.
const ROOT: &str = "/mnt";
/// The image that containers of the tests run; its entrypoint is the guest program.
pub const IMAGE: &str = "localhost/orlop/guest:v1";
const PAUSE: &str = "localhost/orlop/pause:v1";

/// A running machine. Dropping it ends containerd; the rest ends with the test's process.
pub struct Machine {
    containerd: Child,
    programs: PathBuf,
}

/// Runs `test` inside a machine of its own. `name` is the test function's own name: the process is started again with it.
pub fn inside_machine<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Machine) -> F) {
    if std::env::var_os("ORLOP_TEST_MACHINE").is_none() {
        return enter(name);
    }
    let machine = Machine::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test(machine));
    runtime.shutdown_background();
}

fn enter(name: &str) {
    let group = format!("orlop-kubelet-{}", name.replace(['_', ':'], "-"));
    remove_cgroups(&group);
    let script = format!(
        "set -e; for c in {}; do d=/sys/fs/cgroup/$c/{group}; mkdir -p $d; \
           if [ $c = cpuset ]; then cat /sys/fs/cgroup/cpuset/cpuset.cpus >$d/cpuset.cpus; cat /sys/fs/cgroup/cpuset/cpuset.mems >$d/cpuset.mems; fi; \
           echo 0 >$d/cgroup.procs; done; \
         exec unshare --mount --net --pid --uts --ipc --cgroup --fork --kill-child=KILL --mount-proc \"$0\" --exact \"$1\" --nocapture",
        CONTROLLERS.join(" ")
    );
    let status = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env("ORLOP_TEST_MACHINE", name)
        .status()
        .expect("setpriv, unshare and sh are part of Debian's base system");
    remove_cgroups(&group);
    assert!(status.success(), "{name} failed inside its machine: {status}");
}

/// Processes of the group are gone with their PID namespace; a group may take a moment to notice.
fn remove_cgroups(group: &str) {
    fn remove(dir: &Path) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten().filter(|e| e.path().is_dir()) {
            remove(&entry.path());
        }
        for _ in 0..50 {
            if fs::remove_dir(dir).is_ok() || !dir.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    CONTROLLERS.iter().for_each(|controller| remove(&Path::new("/sys/fs/cgroup").join(controller).join(group)));
}

impl Machine {
    fn start() -> Self {
        run("mount", &["-t", "tmpfs", "tmpfs", ROOT]);
        run("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
        // runc believes mountinfo, which still lists what the new tmpfs would only hide.
        run("umount", &["-R", "-l", "/sys/fs/cgroup"]);
        run("mount", &["-t", "tmpfs", "tmpfs", "/sys/fs/cgroup"]);
        for controller in CONTROLLERS {
            let dir = format!("/sys/fs/cgroup/{controller}");
            fs::create_dir(&dir).unwrap();
            run("mount", &["-t", "cgroup", "-o", controller, "cgroup", &dir]);
        }
        run("ip", &["link", "set", "lo", "up"]);
        run("ip", &["addr", "add", "10.88.255.254/32", "dev", "lo"]);
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let programs = tools().join("bin");
        install_cni();
        fs::create_dir_all(format!("{ROOT}/containerd")).unwrap();
        let config = configuration(&programs);
        fs::write(format!("{ROOT}/containerd.toml"), config).unwrap();
        let mut machine = Self { containerd: start_containerd(&programs), programs };
        machine.wait_for_containerd();
        let programs = machine.programs.clone();
        let guest = image::build_guest();
        for (name, entrypoint) in [(PAUSE, vec!["/guest", "pause"]), (IMAGE, vec!["/guest"])] {
            let tar = format!("{ROOT}/image.tar");
            image::write(Path::new(&tar), name, &guest, &entrypoint);
            let socket = machine.socket().display().to_string();
            let ctr = programs.join("ctr").display().to_string();
            run(&ctr, &["-a", &socket, "-n", "k8s.io", "images", "import", &tar]);
        }
        machine
    }

    /// Kills containerd and starts it again; containers have shims of their own and run on.
    #[allow(dead_code, reason = "not every test crate restarts the runtime")]
    pub fn restart_containerd(&mut self) {
        self.containerd.kill().unwrap();
        self.containerd.wait().unwrap();
        fs::remove_file(self.socket()).unwrap();
        self.containerd = start_containerd(&self.programs);
        self.wait_for_containerd();
    }

    fn wait_for_containerd(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.socket().exists() {
            assert!(Instant::now() < deadline, "containerd does not start: {}", self.containerd_log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The CRI socket.
    pub fn socket(&self) -> PathBuf {
        PathBuf::from(format!("{ROOT}/containerd.sock"))
    }

    /// A folder on the machine's own disk.
    pub fn dir(&self, name: &str) -> PathBuf {
        let dir = Path::new(ROOT).join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// The end of what containerd has logged: for the message of a failed assertion.
    pub fn containerd_log(&self) -> String {
        let log = fs::read_to_string(format!("{ROOT}/containerd.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.containerd.kill();
        let _ = self.containerd.wait();
    }
}

fn tools() -> PathBuf {
    let here = || Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools")).to_path_buf();
    let tools = std::env::var_os("ORLOP_TOOLS").map_or_else(here, PathBuf::from);
    assert!(
        tools.join("bin/containerd").exists(),
        "{} has no bin/containerd: run cargo xtask setup, or set ORLOP_TOOLS",
        tools.display()
    );
    tools
}

fn start_containerd(programs: &Path) -> Child {
    Command::new(programs.join("containerd"))
        .args(["--config", &format!("{ROOT}/containerd.toml")])
        .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display()))
        .env_remove("ORLOP_TEST_MACHINE")
        .stdout(Stdio::null())
        .stderr(fs::OpenOptions::new().create(true).append(true).open(format!("{ROOT}/containerd.log")).unwrap())
        .spawn()
        .unwrap()
}

fn install_cni() {
    fs::create_dir_all(format!("{ROOT}/cni/bin")).unwrap();
    fs::create_dir_all(format!("{ROOT}/cni/net.d")).unwrap();
    for plugin in ["loopback", "orlop-test"] {
        let path = format!("{ROOT}/cni/bin/{plugin}");
        fs::write(&path, include_str!("cni.sh")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let network = r#"{"cniVersion":"0.4.0","name":"test","plugins":[{"type":"orlop-test"}]}"#;
    fs::write(format!("{ROOT}/cni/net.d/10-test.conflist"), network).unwrap();
}

fn configuration(programs: &Path) -> String {
    let runc = programs.join("runc");
    format!(
        r#"version = 2
root = "{ROOT}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "{ROOT}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{ROOT}/cni/bin"
    conf_dir = "{ROOT}/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{}"
"#,
        runc.display()
    )
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {} {stderr}", output.status);
}
