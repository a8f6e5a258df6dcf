//! Each verb of kubectl that needs no running pod, with the real kubectl in two minors, against a control plane alone: what it
//! prints is what Kubernetes' own test/cmd and test/e2e/kubectl expect.

#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use orlop_conformance::{Server, eventually};

/// Two servers at once would share two cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn every_verb_of_this_minor() {
    every_verb("kubectl");
}

#[test]
fn every_verb_of_the_minor_before() {
    every_verb("kubectl-previous");
}

fn every_verb(kubectl: &str) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let server = Server::start(kubectl, kubectl).unwrap();
    for part in [
        creates,
        reads,
        applies,
        patches_and_replaces,
        labels_and_annotates,
        rolls_out,
        scales_and_exposes,
        sets,
        decides,
        signs,
        learns,
        cordons,
        watches_and_waits,
        passes_on,
        deletes,
    ] {
        part(&server);
    }
}

/// It prints exactly this.
#[track_caller]
fn says(server: &Server, words: &str, expected: &str) {
    let said = server.kubectl(words).unwrap_or_else(|error| panic!("kubectl {words}: {error:#}"));
    assert_eq!(said.trim_end(), expected, "kubectl {words}");
}

/// It prints these among other things.
#[track_caller]
fn shows(server: &Server, words: &str, parts: &[&str]) -> String {
    let said = server.kubectl(words).unwrap_or_else(|error| panic!("kubectl {words}: {error:#}"));
    let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in parts {
        assert!(flat.contains(part), "kubectl {words}: no {part:?} in\n{said}");
    }
    said
}

/// It fails and complains of this.
#[track_caller]
fn complains(server: &Server, words: &str, part: &str) {
    match server.kubectl(words) {
        Ok(said) => panic!("kubectl {words} succeeded:\n{said}"),
        Err(error) => assert!(format!("{error:#}").contains(part), "kubectl {words}: no {part:?} in\n{error:#}"),
    }
}

#[track_caller]
fn feeds(server: &Server, words: &str, input: &str, expected: &str) {
    let said = server.run(&words.split_whitespace().collect::<Vec<_>>(), input);
    let said = said.unwrap_or_else(|error| panic!("kubectl {words}: {error:#}"));
    assert_eq!(said.trim_end(), expected, "kubectl {words}");
}

// test/cmd/create.sh, test/e2e/kubectl/kubectl.go: every generator.
fn creates(server: &Server) {
    std::fs::write(server.file("text"), "hello").unwrap();
    let file = server.file("text");
    let from_file = format!("create configmap from-file --from-file={}", file.display());
    for (words, object) in [
        ("create namespace made", "namespace/made"),
        ("create configmap colours --from-literal=sky=blue", "configmap/colours"),
        (from_file.as_str(), "configmap/from-file"),
        ("create secret generic word --from-literal=pass=x", "secret/word"),
        ("create secret docker-registry registry --docker-username=u --docker-password=p", "secret/registry"),
        ("create serviceaccount robot", "serviceaccount/robot"),
        ("create deployment web --image=example/web:1 --replicas=2 --port=80", "deployment.apps/web"),
        ("create job once --image=example/job", "job.batch/once"),
        ("create cronjob often --image=example/job --schedule=*/5_*_*_*_*", "cronjob.batch/often"),
        ("create service clusterip inner --tcp=80:8080", "service/inner"),
        ("create service nodeport outer --tcp=80 --node-port=30333", "service/outer"),
        ("create service externalname far --external-name=example.com", "service/far"),
        ("create service loadbalancer balanced --tcp=80", "service/balanced"),
        ("create ingress front --rule=example.com/=web:80", "ingress.networking.k8s.io/front"),
        ("create poddisruptionbudget budget --selector=app=web --min-available=1", "poddisruptionbudget.policy/budget"),
        ("create quota limits --hard=configmaps=50", "resourcequota/limits"),
        ("create priorityclass urgent --value=1000 --description=soon", "priorityclass.scheduling.k8s.io/urgent"),
        ("create role reader --verb=get,list --resource=pods", "role.rbac.authorization.k8s.io/reader"),
        ("create clusterrole seer --verb=get --resource=nodes", "clusterrole.rbac.authorization.k8s.io/seer"),
        ("create rolebinding reads --role=reader --user=jane", "rolebinding.rbac.authorization.k8s.io/reads"),
        (
            "create clusterrolebinding sees --clusterrole=seer --group=people",
            "clusterrolebinding.rbac.authorization.k8s.io/sees",
        ),
        ("run lonely --image=example/pod --restart=Never", "pod/lonely"),
    ] {
        let words: Vec<String> = words
            .split(' ')
            .map(|word| if word.contains("*_*") { word.replace('_', " ") } else { word.to_owned() })
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = server.run(&words, "").unwrap_or_else(|error| panic!("kubectl {words:?}: {error:#}"));
        assert_eq!(said, format!("{object} created\n"), "kubectl {words:?}");
    }
    complains(server, "create configmap colours", "configmaps \"colours\" already exists");
    complains(server, "create service nodeport other --tcp=80 --node-port=30333", "provided port is already allocated");
    says(server, "create job now --from=cronjob/often", "job.batch/now created");
    says(server, "create configmap dry --dry-run=server -o name", "configmap/dry");
    says(server, "create configmap dry --dry-run=client -o jsonpath={.kind}", "ConfigMap");
    complains(server, "get configmap dry", "configmaps \"dry\" not found");
    let token = server.kubectl("create token robot --duration=1h").unwrap();
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
    let generated = "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: any-}\n";
    let said = server.run(&["create", "-f", "-"], generated).unwrap();
    assert!(said.starts_with("configmap/any-") && said.ends_with(" created\n"), "{said}");
}

fn reads(server: &Server) {
    says(server, "get configmap colours -o jsonpath={.data.sky}", "blue");
    says(server, "get configmap colours -o go-template={{.data.sky}}", "blue");
    says(server, "get configmaps -o name --field-selector=metadata.name=colours", "configmap/colours");
    shows(server, "get configmap colours -o yaml", &["kind: ConfigMap", "sky: blue"]);
    shows(server, "get configmap colours -o json", &["\"kind\": \"ConfigMap\""]);
    shows(server, "get cm", &["NAME DATA AGE", "colours 1"]);
    shows(server, "get service outer", &["NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE", "NodePort", "80:30333/TCP"]);
    shows(server, "get service far -o wide", &["ExternalName <none> example.com"]);
    shows(server, "get all", &["deployment.apps/web", "service/inner", "job.batch/once", "cronjob.batch/often"]);
    shows(server, "get pods,services -o custom-columns=NAME:.metadata.name", &["lonely", "inner"]);
    shows(server, "get --raw /api/v1/namespaces/made", &["\"name\":\"made\""]);
    shows(server, "get ns made --show-labels", &["kubernetes.io/metadata.name=made"]);
    shows(server, "get flowschemas catch-all", &["catch-all", "10000", "ByUser", "False"]);
    shows(server, "get prioritylevelconfigurations exempt", &["exempt Exempt"]);
    shows(server, "get ingress front", &["NAME CLASS HOSTS ADDRESS PORTS AGE", "front <none> example.com 80"]);
    complains(server, "get configmap none", "Error from server (NotFound): configmaps \"none\" not found");
    complains(server, "get nothings", "the server doesn't have a resource type \"nothings\"");
    complains(server, "get pods --field-selector=spec.nothing=1", "field label not supported: spec.nothing");
    shows(server, "describe configmap colours", &["Name: colours", "sky: ---- blue"]);
    shows(
        server,
        "describe deployment web",
        &["Replicas: 2 desired", "Image: example/web:1", "StrategyType: RollingUpdate"],
    );
    shows(server, "describe service outer", &["Type: NodePort", "NodePort: 80 30333/TCP"]);
    shows(server, "describe pod lonely", &["Status: Pending", "Image: example/pod"]);
    shows(server, "describe cronjob often", &["Schedule: */5 * * * *"]);
    shows(server, "describe ingress front", &["Host Path Backends", "example.com / web:80"]);
    shows(server, "describe poddisruptionbudget budget", &["Min available: 1"]);
    shows(server, "describe quota limits", &["configmaps"]);
    shows(server, "describe role reader", &["pods [] [] [get list]"]);
    shows(server, "describe rolebinding reads", &["Role: Kind: Role Name: reader", "User jane"]);
    shows(server, "describe ns made", &["Status: Active"]);
    shows(server, "describe secret word", &["pass: 1 bytes"]);
    shows(server, "describe flowschema exempt", &["Matching Precedence: 1"]);
    shows(server, "events", &["LAST SEEN TYPE REASON OBJECT MESSAGE"]);
    eventually("an event of the pod", Duration::from_secs(20), || {
        Ok(server.kubectl("events --for=pod/lonely").ok().filter(|events| events.contains("FailedScheduling")))
    })
    .unwrap();
    shows(server, "get events --field-selector=involvedObject.name=lonely", &["FailedScheduling"]);
}

const APPLIED: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: applied, labels: {set: one}}
data: {a: '1'}
";

// test/cmd/apply.sh, test/cmd/diff.sh
const CUSTOM: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

fn applies(server: &Server) {
    feeds(server, "apply -f -", APPLIED, "configmap/applied created");
    feeds(server, "apply -f -", APPLIED, "configmap/applied unchanged");
    let changed = APPLIED.replace("a: '1'", "b: '2'");
    let difference = server.run(&["diff", "-f", "-"], &changed).unwrap();
    assert!(difference.contains("-  a: \"1\"") && difference.contains("+  b: \"2\""), "{difference}");
    feeds(server, "apply -f -", &changed, "configmap/applied configured");
    says(server, "get configmap applied -o jsonpath={.data}", "{\"b\":\"2\"}");
    shows(server, "apply view-last-applied configmap/applied", &["b: \"2\""]);
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other, labels: {set: one}}\n";
    let pruned =
        server.run(&["apply", "-f", "-", "--prune", "-l", "set=one", "--prune-allowlist=core/v1/ConfigMap"], other);
    let pruned = pruned.unwrap();
    assert!(pruned.contains("configmap/other created") && pruned.contains("configmap/applied pruned"), "{pruned}");

    let mine = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: owned}\ndata: {k: mine}\n";
    let theirs = mine.replace("mine", "theirs");
    feeds(server, "apply --server-side -f -", mine, "configmap/owned serverside-applied");
    let refused = server.run(&["apply", "--server-side", "--field-manager=other", "-f", "-"], &theirs).unwrap_err();
    let refused = format!("{refused:#}");
    assert!(refused.contains("Apply failed with 1 conflict: conflict with \"kubectl\": .data.k"), "{refused}");
    feeds(
        server,
        "apply --server-side --field-manager=other --force-conflicts -f -",
        &theirs,
        "configmap/owned serverside-applied",
    );
    says(server, "get configmap owned -o jsonpath={.data.k}", "theirs");
    shows(server, "get configmap owned -o yaml --show-managed-fields", &["manager: other", "operation: Apply"]);
    // What kubectl has applied by itself it takes over on the server, and back.
    let before = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: moved}\ndata: {k: one}\n";
    let after = before.replace("one", "two");
    feeds(server, "apply -f -", before, "configmap/moved created");
    let refused = server.run(&["apply", "--server-side", "--field-manager=other", "-f", "-"], &after).unwrap_err();
    assert!(format!("{refused:#}").contains("conflict with \"kubectl-client-side-apply\""), "{refused:#}");
    let difference = server.run(&["diff", "--server-side", "-f", "-"], &after).unwrap();
    assert!(difference.contains("-  k: one") && difference.contains("+  k: two"), "{difference}");
    feeds(server, "apply --server-side -f -", &after, "configmap/moved serverside-applied");
    shows(server, "apply view-last-applied configmap/moved", &["k: two"]);
    feeds(server, "apply -f -", before, "configmap/moved configured");
    says(server, "get configmap moved -o jsonpath={.data.k}", "one");

    // A custom resource is merged without a strategy.
    feeds(server, "apply -f -", CUSTOM, "customresourcedefinition.apiextensions.k8s.io/boats.example.com created");
    says(
        server,
        "wait --for=condition=Established crd/boats.example.com --timeout=20s",
        "customresourcedefinition.apiextensions.k8s.io/boats.example.com condition met",
    );
    let boat = "apiVersion: example.com/v1\nkind: Boat\nmetadata: {name: small}\nspec: {mast: 1, oars: 2}\n";
    feeds(server, "apply -f -", boat, "boat.example.com/small created");
    feeds(server, "apply -f -", &boat.replace("oars: 2", "sails: 1"), "boat.example.com/small configured");
    says(server, "get boat small -o jsonpath={.spec}", "{\"mast\":1,\"sails\":1}");
    says(
        server,
        "delete crd boats.example.com -o name",
        "customresourcedefinition.apiextensions.k8s.io/boats.example.com",
    );

    let strict = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad}\nnothing: 1\n";
    let refused = server.run(&["apply", "-f", "-"], strict).unwrap_err();
    assert!(format!("{refused:#}").contains("unknown field \"nothing\""), "{refused:#}");
}

fn patches_and_replaces(server: &Server) {
    for (kind, patch, value) in [
        ("merge", r#"{"data":{"sea":"green"}}"#, "green"),
        ("strategic", r#"{"data":{"sea":"grey"}}"#, "grey"),
        ("json", r#"[{"op":"replace","path":"/data/sea","value":"blue"}]"#, "blue"),
    ] {
        let type_flag = format!("--type={kind}");
        let said = server.run(&["patch", "configmap", "colours", &type_flag, "-p", patch], "").unwrap();
        assert_eq!(said, "configmap/colours patched\n");
        says(server, "get configmap colours -o jsonpath={.data.sea}", value);
    }
    let again = server.run(&["patch", "configmap", "colours", "--type=merge", "-p", r#"{"data":{"sea":"blue"}}"#], "");
    assert_eq!(again.unwrap(), "configmap/colours patched (no change)\n");
    let refused = server
        .run(&["patch", "configmap", "colours", "--type=json", "-p", r#"[{"op":"remove","path":"/data/none"}]"#], "");
    assert!(format!("{:#}", refused.unwrap_err()).contains("the server rejected our request"), "a patch of nothing");
    let manifest = server.kubectl("get configmap colours -o json").unwrap().replace("\"blue\"", "\"red\"");
    feeds(server, "replace -f -", &manifest, "configmap/colours replaced");
    says(server, "get configmap colours -o jsonpath={.data.sky}", "red");
    let old = server.run(&["replace", "-f", "-"], &manifest).unwrap_err();
    assert!(format!("{old:#}").contains("the object has been modified"), "{old:#}");
    let forced = manifest.replace("\"red\"", "\"black\"");
    let said = server.run(&["replace", "--force", "-f", "-"], &forced).unwrap();
    assert!(said.contains("configmap \"colours\" deleted") && said.contains("configmap/colours replaced"), "{said}");

    let editor = server.file("editor");
    std::fs::write(&editor, "#!/bin/sh\nsed -i 's/black/white/' \"$1\"\n").unwrap();
    let mut permissions = std::fs::metadata(&editor).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(&editor, permissions).unwrap();
    let edited = server.command(&["edit", "configmap", "colours"]).env("KUBE_EDITOR", &editor).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&edited.stdout), "configmap/colours edited\n", "{edited:?}");
    says(server, "get configmap colours -o jsonpath={.data.sky}", "white");
}

fn labels_and_annotates(server: &Server) {
    says(server, "label configmap colours tone=light", "configmap/colours labeled");
    complains(
        server,
        "label configmap colours tone=dark",
        "'tone' already has a value (light), and --overwrite is false",
    );
    says(server, "label configmap colours tone=dark --overwrite", "configmap/colours labeled");
    says(server, "get configmap -l tone=dark -o name", "configmap/colours");
    says(server, "get configmap -l tone!=dark,tone -o name", "");
    says(server, "label configmap colours tone-", "configmap/colours unlabeled");
    says(server, "annotate configmap colours note=x", "configmap/colours annotated");
    says(server, "annotate configmap colours note-", "configmap/colours annotated");
    complains(server, "label configmap colours bad=a/b", "a valid label must be");
}

// test/cmd/apps.sh: rollouts of a Deployment without pods that run.
fn rolls_out(server: &Server) {
    eventually("the first revision", Duration::from_secs(20), || {
        Ok(server.kubectl("rollout history deployment/web").ok().filter(|said| said.contains("\n1 ")))
    })
    .unwrap();
    says(server, "set image deployment/web web=example/web:2", "deployment.apps/web image updated");
    eventually("the second revision", Duration::from_secs(20), || {
        Ok(server.kubectl("rollout history deployment/web").ok().filter(|said| said.contains("\n2 ")))
    })
    .unwrap();
    shows(server, "rollout history deployment/web --revision=1", &["with revision #1", "Image: example/web:1"]);
    complains(server, "rollout status deployment/web --timeout=1s", "timed out waiting for the condition");
    says(server, "rollout pause deployment/web", "deployment.apps/web paused");
    complains(server, "rollout pause deployment/web", "already paused");
    complains(server, "rollout undo deployment/web", "you cannot rollback a paused deployment");
    says(server, "rollout resume deployment/web", "deployment.apps/web resumed");
    says(server, "rollout undo deployment/web --to-revision=1", "deployment.apps/web rolled back");
    says(server, "get deployment web -o jsonpath={.spec.template.spec.containers[0].image}", "example/web:1");
    complains(
        server,
        "rollout undo deployment/web --to-revision=77",
        "unable to find specified revision 77 in history",
    );
    says(server, "rollout restart deployment/web", "deployment.apps/web restarted");
    shows(server, "get deployment web -o yaml", &["kubectl.kubernetes.io/restartedAt"]);
}

fn scales_and_exposes(server: &Server) {
    says(server, "scale deployment web --replicas=3", "deployment.apps/web scaled");
    says(server, "get deployment web -o jsonpath={.spec.replicas}", "3");
    complains(server, "scale deployment web --current-replicas=7 --replicas=1", "Expected replicas to be 7, was 3");
    says(server, "autoscale deployment web --min=2 --max=5", "horizontalpodautoscaler.autoscaling/web autoscaled");
    shows(
        server,
        "get hpa web",
        &["NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE", "Deployment/web cpu: <unknown>/80% 2 5 0"],
    );
    shows(
        server,
        "get horizontalpodautoscalers.v1.autoscaling web -o yaml",
        &["apiVersion: autoscaling/v1", "targetCPUUtilizationPercentage: 80"],
    );
    shows(server, "describe hpa web", &["Reference: Deployment/web", "Min replicas: 2"]);
    says(server, "expose deployment web --port=80 --target-port=8080", "service/web exposed");
    says(server, "get service web -o jsonpath={.spec.selector.app},{.spec.ports[0].targetPort}", "web,8080");
    complains(server, "expose deployment web --port=80", "services \"web\" already exists");
}

fn sets(server: &Server) {
    says(server, "set env deployment/web COLOUR=blue", "deployment.apps/web env updated");
    shows(server, "set env deployment/web --list", &["COLOUR=blue"]);
    says(
        server,
        "set resources deployment/web --limits=cpu=200m,memory=64Mi",
        "deployment.apps/web resource requirements updated",
    );
    says(server, "set serviceaccount deployment/web robot", "deployment.apps/web serviceaccount updated");
    says(server, "set selector service web app=else", "service/web selector updated");
    says(
        server,
        "set subject rolebinding reads --user=joe",
        "rolebinding.rbac.authorization.k8s.io/reads subjects updated",
    );
}

// test/cmd/authorization.sh, test/cmd/auth_whoami.sh, test/cmd/rbac.sh
fn decides(server: &Server) {
    shows(server, "auth whoami", &["Username kubernetes-admin", "system:authenticated"]);
    says(server, "auth can-i delete pods", "yes");
    complains(server, "auth can-i delete pods --as=jane", "no");
    says(server, "auth can-i get pods --as=jane", "yes");
    shows(
        server,
        "auth can-i --list --as=jane",
        &["Resources Non-Resource URLs Resource Names Verbs", "pods [] [] [get list]"],
    );
    complains(server, "get secrets --as=jane", "secrets is forbidden: User \"jane\" cannot list resource \"secrets\"");
    let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: reader, namespace: default}\nrules: [{apiGroups: [''], resources: [pods], verbs: [watch]}]\n";
    feeds(server, "auth reconcile -f -", role, "role.rbac.authorization.k8s.io/reader reconciled");
    says(server, "auth can-i watch pods --as=joe", "yes");
}

/// A request for a client's certificate, made with openssl.
fn request(server: &Server, name: &str) -> String {
    let (key, file) = (server.file(&format!("{name}.key")), server.file("request"));
    let made = Command::new("openssl")
        .args(["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/O=dev/O=ops/CN=jane", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&file)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let encoded = Command::new("base64").args(["-w0"]).arg(&file).output().unwrap();
    let encoded = String::from_utf8(encoded.stdout).unwrap();
    format!(
        "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {name}}}\n\
         spec: {{request: {encoded}, signerName: kubernetes.io/kube-apiserver-client, usages: [client auth]}}\n"
    )
}

// test/cmd/certificate.sh
fn signs(server: &Server) {
    for name in ["jane", "eve"] {
        let expected = format!("certificatesigningrequest.certificates.k8s.io/{name} created");
        feeds(server, "create -f -", &request(server, name), &expected);
    }
    shows(
        server,
        "get csr jane",
        &["NAME AGE SIGNERNAME REQUESTOR REQUESTEDDURATION CONDITION", "kubernetes-admin <none> Pending"],
    );
    says(server, "certificate approve jane", "certificatesigningrequest.certificates.k8s.io/jane approved");
    says(server, "certificate deny eve", "certificatesigningrequest.certificates.k8s.io/eve denied");
    eventually("a certificate", Duration::from_secs(20), || {
        Ok(server.kubectl("get csr jane").ok().filter(|said| said.contains("Approved,Issued")))
    })
    .unwrap();
    shows(server, "get csr eve", &["Denied"]);
    shows(server, "describe csr jane", &["Status: Approved,Issued", "Common Name: jane"]);
    let certificate = server.kubectl("get csr jane -o go-template={{.status.certificate|base64decode}}").unwrap();
    std::fs::write(server.file("certificate"), certificate).unwrap();
    let who = server
        .command(&["auth", "whoami", "--client-certificate"])
        .arg(server.file("certificate"))
        .arg("--client-key")
        .arg(server.file("jane.key"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&who.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("Username jane Groups [dev ops system:authenticated]"), "{who:?}");
}

// test/cmd/discovery.sh, test/cmd/version.sh
fn learns(server: &Server) {
    shows(server, "version", &["Client Version: v1.3", "Server Version: v1.36"]);
    shows(
        server,
        "api-resources",
        &[
            "NAME SHORTNAMES APIVERSION NAMESPACED KIND",
            "horizontalpodautoscalers hpa autoscaling/v2 true HorizontalPodAutoscaler",
            "flowschemas flowcontrol.apiserver.k8s.io/v1 false FlowSchema",
            "resourceclaims resource.k8s.io/v1 true ResourceClaim",
            "volumeattributesclasses vac storage.k8s.io/v1 false VolumeAttributesClass",
            "componentstatuses cs v1 false ComponentStatus",
        ],
    );
    shows(
        server,
        "api-resources --verbs=list --namespaced=false -o name",
        &["nodes", "flowschemas.flowcontrol.apiserver.k8s.io"],
    );
    shows(server, "api-versions", &["autoscaling/v1", "autoscaling/v2", "resource.k8s.io/v1", "v1"]);
    shows(server, "explain pods.spec.containers.image", &["KIND: Pod", "FIELD: image <string>"]);
    shows(server, "explain deployment.spec --recursive", &["replicas <integer>"]);
    shows(server, "explain hpa --api-version=autoscaling/v1", &["VERSION: v1"]);
    complains(server, "explain pods.nothing", "field \"nothing\" does not exist");
    shows(server, "cluster-info", &["Kubernetes control plane is running at https://127.0.0.1:"]);
    shows(server, "cluster-info dump --namespaces=made", &["\"kind\": \"NodeList\""]);
    shows(server, "get componentstatuses", &["etcd-0 Healthy ok"]);
    complains(server, "top nodes", "Metrics API not available");
    shows(server, "options", &["--kubeconfig"]);
    shows(server, "config view", &["server: https://127.0.0.1:"]);
}

const NODE: &str = "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {kubernetes.io/hostname: n1}}\nspec: {taints: [{key: held, effect: NoSchedule}]}\n";

// test/cmd/node-management.sh
fn cordons(server: &Server) {
    feeds(server, "create -f -", NODE, "node/n1 created");
    says(server, "cordon n1", "node/n1 cordoned");
    says(server, "cordon n1", "node/n1 already cordoned");
    shows(server, "get node n1", &["SchedulingDisabled"]);
    says(server, "uncordon n1", "node/n1 uncordoned");
    says(server, "taint node n1 colour=blue:NoSchedule", "node/n1 tainted");
    says(server, "taint node n1 colour-", "node/n1 untainted");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: placed, labels: {app: placed}}\nspec: {nodeName: n1, terminationGracePeriodSeconds: 0, containers: [{name: c, image: example/pod}]}\n";
    feeds(server, "create -f -", pod, "pod/placed created");
    complains(server, "drain n1", "cannot delete Pods that declare no controller");
    shows(server, "drain n1 --force --dry-run=server", &["evicting pod default/placed (server dry run)"]);
    shows(server, "drain n1 --force --grace-period=0", &["node/n1 drained"]);
    complains(server, "get pod placed", "pods \"placed\" not found");
    says(server, "delete node n1", "node \"n1\" deleted");
}

// test/cmd/wait.sh
fn watches_and_waits(server: &Server) {
    let mut watch =
        server.command(&["get", "configmaps", "--watch-only", "-o", "name"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let told = std::thread::spawn(move || lines.next().and_then(Result::ok));
    eventually("the watch sees a change", Duration::from_secs(30), || {
        let _ = server.kubectl("delete configmap watched --ignore-not-found");
        server.kubectl("create configmap watched")?;
        std::thread::sleep(Duration::from_millis(200));
        Ok(told.is_finished().then_some(()))
    })
    .unwrap();
    assert_eq!(told.join().unwrap().as_deref(), Some("configmap/watched"));
    watch.kill().unwrap();
    watch.wait().unwrap();

    says(
        server,
        "wait --for=jsonpath={.metadata.name}=watched configmap/watched --timeout=5s",
        "configmap/watched condition met",
    );
    complains(
        server,
        "wait --for=condition=Available deployment/web --timeout=1s",
        "timed out waiting for the condition on deployments/web",
    );
    let mut gone = server
        .command(&["wait", "--for=delete", "configmap/watched", "--timeout=20s"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    server.kubectl("delete configmap watched").unwrap();
    let mut said = String::new();
    gone.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(gone.wait().unwrap().success() && said.contains("condition met"), "{said}");
}

// test/cmd/proxy.sh
fn passes_on(server: &Server) {
    let mut proxy = server.command(&["proxy", "--port=0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(proxy.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit(' ').next().unwrap().to_owned();
    let fetched =
        Command::new("curl").args(["-s", &format!("http://{address}/api/v1/namespaces/made")]).output().unwrap();
    proxy.kill().unwrap();
    proxy.wait().unwrap();
    assert!(String::from_utf8_lossy(&fetched.stdout).contains("\"name\":\"made\""), "{line} {fetched:?}");
}

// test/cmd/delete.sh
fn deletes(server: &Server) {
    says(
        server,
        "delete configmap colours --dry-run=server",
        "configmap \"colours\" deleted from default namespace (server dry run)",
    );
    shows(server, "delete configmap colours", &["configmap \"colours\" deleted"]);
    complains(server, "delete configmap colours", "configmaps \"colours\" not found");
    says(server, "delete configmap colours --ignore-not-found", "");
    shows(
        server,
        "delete service,ingress --all",
        &["service \"outer\" deleted", "ingress.networking.k8s.io \"front\" deleted"],
    );
    shows(server, "delete deployment web --cascade=orphan", &["deployment.apps \"web\" deleted"]);
    shows(server, "get replicasets -l app=web", &["web-"]);
    shows(server, "delete pod lonely --grace-period=0 --force", &["pod \"lonely\" force deleted"]);
    shows(server, "delete namespace made", &["namespace \"made\" deleted"]);
    complains(server, "get namespace made", "namespaces \"made\" not found");
}
