//! Debian's own kernel on pure cgroup2, in a virtual machine: what users have, and what this machine may not be.
//!
//! The virtual machine sees this machine's disk and keeps what it writes in memory: the same programs run there.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// Without hardware help all is emulated, ten times slower than here.
const PATIENCE: Duration = Duration::from_secs(900);
/// Two at once would share two processors.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn a_cluster_works_on_debians_own_kernel_and_cgroup2_alone() -> Result<()> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let job = format!(
        r#"
        orlop={orlop}
        $orlop up --nodes 2 2>/tmp/progress || {{ tail -c 2000 /tmp/progress; exit; }}
        export KUBECONFIG=/var/lib/orlop/orlop/admin.kubeconfig
        kubectl create -f {root}/examples/mytomcat.rc.yaml -f {root}/examples/mytomcat.svc.yaml
        kubectl wait --for=condition=Ready pod --selector app=mytomcat --timeout=300s ||
            {{ kubectl get events; tail -n 20 /run/orlop/orlop/node?/node.log; }}
        for node in 1 2; do
            echo "proxy of node $node: $($orlop outside --node $node -- curl -s http://127.0.0.1:10249/proxyMode)"
            echo "NodePort of node $node: $($orlop outside -- curl -s -m 30 http://172.30.0.1$node:30001/ | head -n 1)"
        done
        address=$(kubectl get service mytomcat -o jsonpath='{{.spec.clusterIP}}')
        echo "ClusterIP: $($orlop outside --node 1 -- curl -s -m 30 http://$address:8080/ | head -n 1)"
        kubectl delete pod --selector app=mytomcat --wait=false
        $orlop down
        echo "left: $(ls /run/netns /sys/fs/cgroup/orlop-* 2>/dev/null | grep -v : | wc -w)"
        "#,
        orlop = needed("ORLOP_BINARY")?.display(),
    );
    let output = boot("walk", &job)?;
    for expected in [
        "proxy of node 1: ebpf",
        "proxy of node 2: ebpf",
        "NodePort of node 1: mytomcat-",
        "NodePort of node 2: mytomcat-",
        "ClusterIP: mytomcat-",
        "left: 0",
    ] {
        ensure!(output.contains(expected), "no {expected:?} in\n{output}");
    }
    Ok(())
}

#[test]
fn packets_take_their_ways_on_debians_own_kernel() -> Result<()> {
    let tests = newest("namespaces")?;
    // Emulated all of them would take a quarter of an hour; these see every program and both families.
    let chosen = "sockets:: scenarios::ebpf:: cost::the_verifier devices::a_pod_takes";
    let output = boot("packets", &format!("cd / && {} --color never --test-threads 1 {chosen} 2>&1", tests.display()))?;
    ensure!(output.contains("test result: ok."), "{output}");
    Ok(())
}

/// A path in an environment variable that `cargo xtask test` sets.
fn needed(name: &str) -> Result<PathBuf> {
    Ok(env::var_os(name).with_context(|| format!("{name} is not set: use `cargo xtask test`"))?.into())
}

/// The test program of this name that was built last, beside this one.
fn newest(name: &str) -> Result<PathBuf> {
    let folder = env::current_exe()?.parent().context("this program is in a folder")?.to_path_buf();
    let ours = |path: &Path| {
        let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        path.extension().is_none() && file.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
    };
    let found = fs::read_dir(&folder)?.flatten().map(|entry| entry.path()).filter(|path| ours(path));
    let built = |path: &PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    found.max_by_key(built).with_context(|| format!("no {name} test in {}: use `cargo xtask test`", folder.display()))
}

/// Runs a shell script in a virtual machine of its own; everything it printed.
fn boot(name: &str, job: &str) -> Result<String> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let tools = fs::canonicalize(needed("ORLOP_TOOLS")?)?;
    let images = fs::canonicalize(needed("ORLOP_IMAGES")?)?;
    let vm = tools.join("vm");
    ensure!(vm.join("initrd").exists(), "no {}: use `cargo xtask test`", vm.join("initrd").display());
    let (script, console) = (vm.join(format!("{name}.sh")), vm.join(format!("{name}.console")));
    let environment = format!(
        "export HOME=/root TMPDIR=/tmp PATH={}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         export ORLOP_TOOLS={} ORLOP_IMAGES={}\n",
        tools.display(),
        tools.display(),
        images.display()
    );
    fs::write(&script, format!("{environment}{job}\n"))?;
    let _ = fs::remove_file(&console);
    let disk = |path: &str, tag: &str| {
        format!("local,path={path},mount_tag={tag},security_model=none,readonly=on,multidevs=remap")
    };
    // Gone with this test, however it ends.
    let child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
        .args(["-cpu", "max", "-smp", "2", "-m", "6G", "-display", "none", "-no-reboot", "-nic", "none"])
        .args(["-serial", &format!("file:{}", console.display())])
        .arg("-kernel")
        .arg(vm.join("vmlinuz"))
        .arg("-initrd")
        .arg(vm.join("initrd"))
        .args(["-append", &format!("console=ttyS0 quiet panic=-1 vm={} job={}", vm.display(), script.display())])
        .args(["-virtfs", &disk("/", "host")])
        .stdin(Stdio::null())
        .spawn()
        .context("running qemu-system-x86_64 (`cargo xtask test` installs it)")?;
    let in_time = Guard(child).ends_within(PATIENCE)?;
    let output = fs::read_to_string(&console).unwrap_or_default();
    ensure!(in_time, "the virtual machine has not ended after {PATIENCE:?}:\n{output}");
    Ok(output)
}

/// A process that does not outlive the test.
struct Guard(Child);

impl Guard {
    fn ends_within(mut self, patience: Duration) -> Result<bool> {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if self.0.try_wait()?.is_some() {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(false)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
