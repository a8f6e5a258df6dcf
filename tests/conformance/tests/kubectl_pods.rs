//! Each verb of kubectl that needs a running pod, with the real kubectl in two minors, on a cluster of one machine.

#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use orlop_conformance::{Cluster, Wanted, eventually};

const SHELL: &str = "localhost/orlop/busybox:v1";

const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: box, labels: {app: box}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: localhost/orlop/busybox:v1
    command: [sh, -c, "echo first; sleep 1; echo second; touch /tmp/ready; exec sleep 3600"]
    readinessProbe: {exec: {command: [test, -e, /tmp/ready]}, periodSeconds: 1}
  - {name: side, image: "localhost/orlop/busybox:v1", command: [sh, -c, "echo beside; exec sleep 3600"]}
---
apiVersion: v1
kind: Pod
metadata: {name: crash}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: "localhost/orlop/busybox:v1", command: [sh, -c, "echo in vain; exit 1"]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: "localhost/orlop/web:v1", ports: [{name: http, containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}, {name: echo, port: 81, targetPort: 9000}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: row}
spec:
  replicas: 2
  serviceName: row
  selector: {matchLabels: {app: row}}
  template:
    metadata: {labels: {app: row}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: "localhost/orlop/web:v1"}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: everywhere}
spec:
  selector: {matchLabels: {app: everywhere}}
  template:
    metadata: {labels: {app: everywhere}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: "localhost/orlop/web:v1"}]}
"#;

/// What `drain` has to think about.
const DRAINED: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: scratch}
spec:
  terminationGracePeriodSeconds: 0
  volumes: [{name: v, emptyDir: {}}]
  containers: [{name: c, image: "localhost/orlop/web:v1", volumeMounts: [{name: v, mountPath: /v}]}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}
"#;

#[test]
fn every_verb_with_pods_of_this_minor() {
    every_verb("kubectl", "verbs");
}

#[test]
fn every_verb_with_pods_of_the_minor_before() {
    every_verb("kubectl-previous", "verbs-before");
}

fn every_verb(kubectl: &str, name: &'static str) {
    let tools = std::env::var_os("ORLOP_TOOLS").expect("ORLOP_TOOLS is not set: use `cargo xtask test`");
    let kubectl = PathBuf::from(tools).join("bin").join(kubectl);
    assert!(kubectl.exists(), "{} is not there: run `cargo xtask setup`", kubectl.display());
    let wanted = Wanted { name, nodes: 1, proxy_mode: "ebpf", overlay: "vxlan", publish: None };
    let cluster = Cluster::up(wanted).unwrap();
    let files = std::env::temp_dir().join(format!("orlop-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&files).unwrap();
    let person = Person { cluster, kubectl, files };
    person.tells(&["create", "-f", "-"], PODS);
    for part in [waits, runs, logs, executes, attaches, copies, forwards, debugs, rolls_out, describes, drains] {
        part(&person);
    }
    std::fs::remove_dir_all(&person.files).unwrap();
}

/// Someone with a kubectl.
struct Person {
    cluster: Cluster,
    kubectl: PathBuf,
    files: PathBuf,
}

impl Person {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.arg("60").arg(&self.kubectl).args(words);
        command.env("KUBECONFIG", self.cluster.kubeconfig()).env("KUBECTL_KUBERC", "false");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// kubectl to its end, with an input.
    fn run(&self, words: &[&str], input: &str) -> Output {
        let mut child = self.command(words).spawn().unwrap();
        // Whoever ends before it has read everything is no failure of ours.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// It succeeds; what it prints.
    #[track_caller]
    fn tells(&self, words: &[&str], input: &str) -> String {
        let output = self.run(words, input);
        let (said, complaint) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "kubectl {words:?}: {}\n{said}{complaint}", output.status);
        said
    }

    /// Words separated by spaces.
    #[track_caller]
    fn says(&self, words: &str, expected: &str) {
        let said = self.tells(&words.split(' ').collect::<Vec<_>>(), "");
        assert_eq!(said.trim_end(), expected, "kubectl {words}");
    }

    #[track_caller]
    fn shows(&self, words: &str, parts: &[&str]) {
        let said = self.tells(&words.split(' ').collect::<Vec<_>>(), "");
        let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in parts {
            assert!(flat.contains(part), "kubectl {words}: no {part:?} in\n{said}");
        }
    }

    /// It fails with this code and complains of all this.
    #[track_caller]
    fn complains(&self, words: &[&str], code: i32, parts: &[&str]) {
        let output = self.run(words, "");
        let complaint = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "kubectl {words:?}: {}{complaint}", text(&output.stdout));
        for part in parts {
            assert!(complaint.contains(part), "kubectl {words:?}: no {part:?} in\n{complaint}");
        }
    }

    /// kubectl with a terminal.
    fn terminal(&self, words: &str) -> Child {
        let line = format!("{} {words}", self.kubectl.display());
        let mut command = Command::new("timeout");
        command.args(["60", "script", "-qec", &line, "/dev/null"]).env("KUBECONFIG", self.cluster.kubeconfig());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn waits(person: &Person) {
    person.says("wait --for=condition=Ready pod/box --timeout=30s", "pod/box condition met");
    person.says("wait --for=condition=Available deploy/web --timeout=30s", "deployment.apps/web condition met");
    person.says("wait --for=jsonpath={.status.phase}=Running pod/box", "pod/box condition met");
    person.says("wait --for=jsonpath={.status.podIP} pod/box", "pod/box condition met");
    let late = ["wait", "--for=condition=Ready=false", "pod/box", "--timeout=1s"];
    person.complains(&late, 1, &["timed out waiting for the condition on pods/box"]);
    let waiting = person.command(&["wait", "--for=create", "pod/late", "--timeout=30s"]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    person.says(&format!("run late --image={SHELL} -- sleep 1000"), "pod/late created");
    assert_eq!(text(&waiting.wait_with_output().unwrap().stdout), "pod/late condition met\n");
    let waiting = person.command(&["wait", "--for=delete", "pod/late", "--timeout=30s"]).spawn().unwrap();
    person.shows("delete pod late --grace-period=1", &["pod \"late\" deleted"]);
    assert_eq!(text(&waiting.wait_with_output().unwrap().stdout), "pod/late condition met\n");
    person.complains(&["top", "nodes"], 1, &["error: Metrics API not available"]);
    person.complains(&["top", "pods"], 1, &["error: Metrics API not available"]);
}

fn runs(person: &Person) {
    let image = format!("--image={SHELL}");
    let fed = ["run", "fed", &image, "--restart=Never", "--rm", "-i", "--quiet", "--", "cat"];
    let said = person.tells(&fed, "hi there\n");
    assert!(said.starts_with("hi there\n"), "{said}");
    let words = "sleep 1; echo out; sleep 1; exit 3";
    let failing = ["run", "failing", &image, "--restart=Never", "--rm", "--attach", "--", "sh", "-c", words];
    let output = person.run(&failing, "");
    let said = text(&output.stdout);
    assert!(said.starts_with("out\n") && said.contains("pod \"failing\" deleted"), "{said}{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(3), "the container's exit code is kubectl's");
    person.complains(&["get", "pod", "failing"], 1, &["pods \"failing\" not found"]);

    // Who has no terminal cannot have the container's: the log tells what there was.
    let words = "echo out; sleep 1; exit 5";
    let output = person.run(&["run", "untyped", &image, "--restart=Never", "--rm", "-it", "--", "sh", "-c", words], "");
    let (said, complaint) = (text(&output.stdout), text(&output.stderr));
    assert!(said.contains("out\n") && complaint.contains("falling back to streaming logs"), "{said}{complaint}");
    assert_eq!(output.status.code(), Some(5), "{said}{complaint}");

    let mut child = person.terminal(&format!("run typed {image} --restart=Never --rm -it -- sh"));
    let mut output = child.stdout.take().unwrap();
    let (mut input, mut seen) = (child.stdin.take().unwrap(), Vec::new());
    // The shell asks before it is typed to.
    read_until(&mut output, &mut seen, "# ");
    input.write_all(b"tty; expr 6 '*' 7; exit 4\n").unwrap();
    output.read_to_end(&mut seen).unwrap();
    let seen = text(&seen);
    assert!(seen.contains("/dev/pts/0") && seen.contains("\n42\r"), "{seen}");
    assert_eq!(child.wait().unwrap().code(), Some(4), "{seen}");
}

/// Reads what comes until it contains `mark`.
fn read_until(from: &mut impl std::io::Read, seen: &mut Vec<u8>, mark: &str) {
    let mut byte = [0; 1];
    while !text(seen).contains(mark) {
        assert_eq!(from.read(&mut byte).unwrap(), 1, "no {mark:?} in {}", text(seen));
        seen.push(byte[0]);
    }
}

fn logs(person: &Person) {
    for (words, expected) in [
        ("logs box", "first\nsecond"),
        ("logs box -c side", "beside"),
        ("logs box -c main --tail=1", "second"),
        ("logs box -c main --tail=0", ""),
        ("logs box -c main --since=1h", "first\nsecond"),
        ("logs box -c main --limit-bytes=3", "fir"),
    ] {
        person.says(words, expected);
    }
    // kubectl keeps its requests for logs in a map: the containers come in any order.
    for (words, main, side) in [
        ("logs box --all-containers", "first\nsecond\n", "beside\n"),
        (
            "logs box --all-containers --prefix",
            "[pod/box/main] first\n[pod/box/main] second\n",
            "[pod/box/side] beside\n",
        ),
    ] {
        let said = person.tells(&words.split(' ').collect::<Vec<_>>(), "");
        assert!([[main, side].concat(), [side, main].concat()].contains(&said), "kubectl {words}: {said}");
    }
    let dated = person.tells(&["logs", "box", "-c", "main", "--timestamps"], "");
    let (time, word) = dated.lines().next().unwrap().split_once(' ').unwrap();
    assert!(time.starts_with("20") && time.ends_with('Z') && word == "first", "{dated}");
    let since = format!("--since-time={time}");
    assert_eq!(person.tells(&["logs", "box", "-c", "main", &since], ""), "first\nsecond\n");
    let said = person.tells(&["logs", "-l", "app=box", "--all-containers"], "");
    assert!(said.contains("first\nsecond\n") && said.contains("beside\n") && said.lines().count() == 3, "{said}");
    let by_selector = person.tells(&["logs", "-l", "app=web", "--prefix"], "");
    assert_eq!(by_selector.lines().filter(|line| line.contains("serves HTTP on port 8080")).count(), 2);
    person.shows("logs deploy/web", &["serves HTTP on port 8080"]);
    person.shows("logs svc/web --tail=1", &["serves HTTP on port 8080"]);
    person.complains(&["logs", "nope"], 1, &["pods \"nope\" not found"]);
    person.complains(&["logs", "box", "-c", "nope"], 1, &["container nope is not valid for pod box"]);

    eventually("a crashed container has a log of its life before", Duration::from_secs(20), || {
        let output = person.run(&["logs", "crash", "--previous"], "");
        Ok((output.status.success() && output.stdout == b"in vain\n").then_some(()))
    })
    .unwrap();
    person.complains(
        &["logs", "box", "-c", "side", "--previous"],
        1,
        &["previous terminated container \"side\" in pod \"box\" not found"],
    );

    let counting = "for i in 1 2 3; do echo $i; sleep 0.4; done";
    person.tells(&["run", "counting", &format!("--image={SHELL}"), "--restart=Never", "--", "sh", "-c", counting], "");
    person.says(
        "wait --for=jsonpath={.status.containerStatuses[0].state.running} pod/counting --timeout=20s",
        "pod/counting condition met",
    );
    assert_eq!(person.tells(&["logs", "-f", "counting"], ""), "1\n2\n3\n", "followed to the container's end");
    person.shows("delete pod counting", &["pod \"counting\" deleted"]);
}

fn executes(person: &Person) {
    assert_eq!(person.tells(&["exec", "-i", "box", "-c", "main", "--", "cat"], "typed\n"), "typed\n");
    let sorted = person.tells(&["exec", "-i", "box", "--", "sort"], "b\na\n");
    assert_eq!(sorted, "a\nb\n", "a command hears of the end of its input");
    let big = "0123456789abcde\n".repeat(100_000);
    let counted = person.tells(&["exec", "-i", "box", "--", "wc", "-c"], &big);
    assert_eq!(counted.trim(), "1600000");
    assert_eq!(person.tells(&["exec", "-i", "box", "--", "cat"], &big), big);
    let both = person.run(&["exec", "box", "-c", "main", "--", "sh", "-c", "echo out; echo err >&2; exit 7"], "");
    assert_eq!((text(&both.stdout).as_str(), both.status.code()), ("out\n", Some(7)));
    assert_eq!(text(&both.stderr), "err\ncommand terminated with exit code 7\n");
    person.complains(&["exec", "deploy/web", "--", "/orlop-web", "nope"], 2, &["orlop-web: nope needs a port"]);
    person.complains(&["exec", "nope", "--", "ls"], 1, &["pods \"nope\" not found"]);
    person.complains(&["exec", "box", "-c", "nope", "--", "ls"], 1, &["container nope is not valid for pod box"]);
    person.complains(
        &["exec", "box", "-c", "side", "--", "nope"],
        1,
        &["\"nope\": executable file not found in $PATH"],
    );
    let mut child = person.terminal("exec -it box -c main -- sh");
    let (mut output, mut input) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
    let mut seen = Vec::new();
    read_until(&mut output, &mut seen, "# ");
    input.write_all(b"tty; exit 5\n").unwrap();
    output.read_to_end(&mut seen).unwrap();
    assert!(text(&seen).contains("/dev/pts/"), "{}", text(&seen));
    assert_eq!(child.wait().unwrap().code(), Some(5));
    // The stream that kubectl falls back to.
    let mut spdy = person.command(&["exec", "-i", "box", "--", "sort"]);
    let mut child = spdy.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false").spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"d\nc\n").unwrap();
    assert_eq!(text(&child.wait_with_output().unwrap().stdout), "c\nd\n");
}

fn attaches(person: &Person) {
    let image = format!("--image={SHELL}");
    let echoing = "while read line; do echo got $line; done; echo done";
    person.tells(&["run", "reader", &image, "--restart=Never", "-i", "--attach=false", "--", "sh", "-c", echoing], "");
    person.says("wait --for=condition=Ready pod/reader --timeout=20s", "pod/reader condition met");
    let said = person.tells(&["attach", "-i", "reader"], "one\ntwo\n");
    assert_eq!(said, "got one\ngot two\ndone\n");
    person.says("wait --for=jsonpath={.status.phase}=Succeeded pod/reader --timeout=20s", "pod/reader condition met");
    person.complains(&["attach", "reader"], 1, &["current phase is Succeeded"]);
    person.shows("delete pod reader", &["pod \"reader\" deleted"]);
}

fn copies(person: &Person) {
    let folder = person.files.join("folder");
    std::fs::create_dir_all(folder.join("inner")).unwrap();
    let big: Vec<u8> = (0..3_000_000_u32).map(|i| u8::try_from(i % 997 % 251).unwrap_or(0)).collect();
    std::fs::write(folder.join("big"), &big).unwrap();
    std::fs::write(folder.join("inner/small"), "small").unwrap();
    let path = |name: &str| person.files.join(name).display().to_string();
    person.tells(&["cp", &path("folder"), "box:/tmp/there", "-c", "main"], "");
    person.says("exec box -c main -- cat /tmp/there/inner/small", "small");
    person.tells(&["cp", "default/box:/tmp/there", &path("back"), "-c", "main"], "");
    assert_eq!(std::fs::read(person.files.join("back/big")).unwrap(), big);
    assert_eq!(std::fs::read(person.files.join("back/inner/small")).unwrap(), b"small");
    person.complains(&["cp", "nope:/a", &path("b")], 1, &["pods \"nope\" not found"]);
}

/// A port-forward that listens.
struct Forward {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Forward {
    fn start(person: &Person, words: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = person.command(&[&["port-forward"], words].concat());
        let mut child = command.envs(env.iter().copied()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next port that it listens on, on 127.0.0.1.
    fn port(&mut self, to: u16) -> SocketAddr {
        let line = self.lines.find(|line| line.as_ref().unwrap().starts_with("Forwarding from 127.0.0.1:"));
        let line = line.unwrap().unwrap();
        let (from, target) = line.trim_start_matches("Forwarding from ").split_once(" -> ").unwrap();
        assert_eq!(target, to.to_string(), "{line}");
        from.parse().unwrap()
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        // `timeout` passes the signal on; a killed one could not.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn call(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // What a forwarded connection that is cut off says is its own: what came is what counts.
    let _ = stream.read_to_end(&mut answer);
    text(&answer)
}

const GET: &[u8] = b"GET /hostname HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";

fn forwards(person: &Person) {
    let names = person.tells(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}"], "");
    let names: Vec<&str> = names.split(' ').collect();
    let served_by = |answer: &str| names.iter().any(|name| answer.trim_end().ends_with(name));
    let pod = format!("pod/{}", names[0]);
    for env in [&[][..], &[("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false")]] {
        let mut forward = Forward::start(person, &[&pod, ":8080", ":9000"], env);
        let (http, echo) = (forward.port(8080), forward.port(9000));
        for _ in 0..3 {
            let answer = call(http, GET);
            assert!(answer.trim_end().ends_with(names[0]), "{answer}");
        }
        let mut stream = TcpStream::connect(echo).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), names[0]);
        stream.write_all(b"hello\n").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "hello", "a connection that goes both ways for a while");
        let answer = call(http, GET);
        assert!(answer.trim_end().ends_with(names[0]), "beside it, another: {answer}");
    }
    for (target, port, to) in [("svc/web", ":80", 8080), ("deployment/web", ":8080", 8080)] {
        let mut forward = Forward::start(person, &[target, port], &[]);
        let address = forward.port(to);
        let answer = call(address, GET);
        assert!(served_by(&answer), "{target}: {answer}");
    }
    let mut forward = Forward::start(person, &[&pod, ":5555"], &[]);
    let address = forward.port(5555);
    assert_eq!(call(address, GET), "", "nobody listens there");
    drop(forward);
    person.complains(&["port-forward", "svc/web", "99"], 1, &["Service web does not have a service port 99"]);

    let mut proxy = person.command(&["proxy", "--port=0"]).spawn().unwrap();
    let mut lines = BufReader::new(proxy.stdout.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    let address: SocketAddr = line.trim_start_matches("Starting to serve on ").parse().unwrap();
    let path = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = call(address, path("/api/v1/namespaces/default/services/web:http/proxy/hostname").as_bytes());
    assert!(served_by(&answer), "{answer}");
    let answer = call(address, path("/api/v1/nodes/node1/proxy/healthz").as_bytes());
    assert!(answer.ends_with("ok"), "{answer}");
    let _ = Command::new("kill").arg(proxy.id().to_string()).status();
    proxy.wait().unwrap();
}

fn debugs(person: &Person) {
    let image = format!("--image={SHELL}");
    let look = "sleep 2; tr '\\0' ' ' < /proc/1/cmdline; sleep 1; exit 5";
    let words = ["debug", "box", &image, "--target=main", "-c", "look", "--attach", "-q", "--", "sh", "-c", look];
    let said = person.tells(&words, "");
    assert!(said.contains("sleep 3600"), "the target's processes are seen: {said}");
    person.says("logs box -c look", "sleep 3600");
    let path = "jsonpath={.status.ephemeralContainerStatuses[?(@.name=='look')].state.terminated.exitCode}";
    eventually("the debugging container has ended", Duration::from_secs(10), || {
        Ok((person.tells(&["get", "pod", "box", "-o", path], "") == "5").then_some(()))
    })
    .unwrap();
    person.shows("describe pod box", &["Ephemeral Containers: look:", "Exit Code: 5"]);
    person.says("get pod box -o jsonpath={.status.containerStatuses[*].restartCount}", "0 0");

    let mut child = person.terminal(&format!("debug -it box {image} --target=side -c typed -- sh"));
    let (mut output, mut input) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
    let mut seen = Vec::new();
    read_until(&mut output, &mut seen, "# ");
    input.write_all(b"expr 6 '*' 7; exit\n").unwrap();
    output.read_to_end(&mut seen).unwrap();
    assert!(text(&seen).contains("\n42\r"), "{}", text(&seen));
    child.wait().unwrap();

    let processes = "sleep 1; ps | grep -c '[s]leep 3600'; sleep 2";
    let said = person.tells(
        &[
            "debug",
            "box",
            &image,
            "--copy-to=copy",
            "--share-processes",
            "-c",
            "new",
            "--attach",
            "-q",
            "--",
            "sh",
            "-c",
            processes,
        ],
        "",
    );
    assert!(said.contains("2\n"), "the copies of both containers are seen: {said}");
    person.tells(&["delete", "pod", "copy", "--grace-period=1"], "");

    let on_node = "sleep 1; chroot /host /bin/sh -c 'echo through $((6 * 7))'; hostname; sleep 1";
    let said = person.tells(&["debug", "node/node1", &image, "--attach", "-q", "--", "sh", "-c", on_node], "");
    assert!(said.contains("through 42\nnode1\n"), "{said}");
    let pods = person.tells(&["get", "pods", "-o", "name"], "");
    let debugger = pods.lines().find(|name| name.starts_with("pod/node-debugger-node1-")).unwrap();
    person.tells(&["delete", debugger, "--grace-period=1"], "");
}

fn rolls_out(person: &Person) {
    for (target, resource, done) in [
        ("deploy/web", "deployment.apps/web", "deployment \"web\" successfully rolled out"),
        ("sts/row", "statefulset.apps/row", "partitioned roll out complete: 2 new pods have been updated..."),
        ("ds/everywhere", "daemonset.apps/everywhere", "daemon set \"everywhere\" successfully rolled out"),
    ] {
        let status = format!("rollout status {target} --timeout=60s");
        person.shows(&status, &[done]);
        person.says(
            &format!("rollout history {target}"),
            &format!("{resource} \nREVISION  CHANGE-CAUSE\n1         <none>"),
        );
        person.says(&format!("set env {target} A=b"), &format!("{resource} env updated"));
        person.shows(&status, &[done]);
        let history = format!("{resource} \nREVISION  CHANGE-CAUSE\n1         <none>\n2         <none>");
        person.says(&format!("rollout history {target}"), &history);
        person.shows(&format!("rollout history {target} --revision=2"), &["with revision #2", "Environment: A: b"]);
        person.says(&format!("rollout undo {target}"), &format!("{resource} rolled back"));
        person.shows(&status, &[done]);
        let history = format!("{resource} \nREVISION  CHANGE-CAUSE\n2         <none>\n3         <none>");
        person.says(&format!("rollout history {target}"), &history);
        person.says(&format!("rollout restart {target}"), &format!("{resource} restarted"));
        person.shows(&status, &[done]);
    }
    for target in ["sts/row", "ds/everywhere"] {
        person.shows(&format!("annotate {target} kubernetes.io/change-cause=because"), &["annotated"]);
        person.shows(&format!("rollout restart {target}"), &["restarted"]);
        person.shows(&format!("rollout status {target} --timeout=60s"), &["roll"]);
        person.shows(&format!("rollout history {target}"), &["2 <none>", "3 <none>", "5 because"]);
    }
    person.says("rollout pause deploy/web", "deployment.apps/web paused");
    person.complains(&["rollout", "pause", "deploy/web"], 1, &["deployments.apps \"web\" is already paused"]);
    person.says("set env deploy/web A=c", "deployment.apps/web env updated");
    person.complains(&["rollout", "undo", "deploy/web"], 1, &["you cannot rollback a paused deployment"]);
    person.complains(&["rollout", "status", "deploy/web", "--timeout=1s"], 1, &["timed out waiting for the condition"]);
    person.says("rollout resume deploy/web", "deployment.apps/web resumed");
    person.shows(
        "rollout status deploy/web --timeout=60s",
        &["1 out of 2 new replicas have been updated", "deployment \"web\" successfully rolled out"],
    );
}

fn describes(person: &Person) {
    person.shows(
        "describe pod box",
        &[
            "Node: node1/172.30.0.11",
            "Status: Running",
            "State: Running",
            "Readiness: exec [test -e /tmp/ready]",
            "Successfully assigned default/box to node1",
            "Container started",
        ],
    );
    person.shows(
        "describe node node1",
        &[
            "Taints: <none>",
            "KubeletReady kubelet is posting ready status",
            "PodCIDR: 10.244.0.0/24",
            "Non-terminated Pods:",
            "default box 0 (0%)",
            "Starting kubelet.",
        ],
    );
    person.shows("events --for pod/box", &["Scheduled Pod/box Successfully assigned default/box to node1"]);
    person.shows("events --types=Warning", &["BackOff Pod/crash Back-off restarting failed container c in pod crash"]);
    person.shows("get pod crash", &["CrashLoopBackOff"]);
    person.shows("get pods -o wide -l app=box", &["box 2/2 Running", "10.244.0.", "node1"]);
}

fn drains(person: &Person) {
    person.tells(&["create", "-f", "-"], DRAINED);
    person.says("wait --for=condition=Ready pod/scratch --timeout=20s", "pod/scratch condition met");
    person.says("cordon node1", "node/node1 cordoned");
    person.says("cordon node1", "node/node1 already cordoned");
    person.shows("get node node1", &["Ready,SchedulingDisabled"]);
    person.complains(
        &["drain", "node1"],
        1,
        &[
            "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): default/everywhere-",
            "cannot delete Pods with local storage (use --delete-emptydir-data to override): default/scratch",
            "cannot delete Pods that declare no controller (use --force to override): default/box, default/crash",
        ],
    );
    let forced = ["drain", "node1", "--ignore-daemonsets", "--delete-emptydir-data", "--force"];
    person.complains(
        &[&forced[..], &["--timeout=2s", "--pod-selector=app=web"]].concat(),
        1,
        &["Cannot evict pod as it would violate the pod's disruption budget.", "global timeout reached: 2s"],
    );
    person.shows("get pods -l app=web", &["1/1 Running"]);
    person.shows("delete pdb web", &["poddisruptionbudget.policy \"web\" deleted"]);
    let said = person.tells(&[&forced[..], &["--timeout=60s"]].concat(), "");
    for pod in ["pod/box evicted", "pod/scratch evicted", "pod/row-0 evicted", "node/node1 drained"] {
        assert!(said.contains(pod), "{said}");
    }
    person.shows("get pods", &["0/1 Pending", "everywhere-"]);
    person.says("uncordon node1", "node/node1 uncordoned");
    person.says("uncordon node1", "node/node1 already uncordoned");
    person.says("taint nodes node1 a=b:NoSchedule", "node/node1 tainted");
    person.complains(&["taint", "nodes", "node1", "a=c:NoSchedule"], 1, &["node node1 already has a taint(s)"]);
    person.says("taint nodes node1 a=c:NoSchedule --overwrite", "node/node1 modified");
    person.shows("describe node node1", &["Taints: a=c:NoSchedule"]);
    person.says("taint nodes node1 a-", "node/node1 untainted");
    person.shows("rollout status deploy/web --timeout=60s", &["deployment \"web\" successfully rolled out"]);
}
