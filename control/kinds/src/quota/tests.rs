use super::*;

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

const PODS: Counted<'static> = Counted { group: "", plural: "pods" };

fn quota(hard: Value, used: Value, spec: Value) -> Value {
    let mut quota = json!({"metadata": {"name": "quota"}, "spec": spec, "status": {"hard": hard, "used": used}});
    quota["spec"]["hard"] = hard_of(&quota);
    quota
}

fn hard_of(quota: &Value) -> Value {
    quota["status"]["hard"].clone()
}

fn pod(requests: Value, limits: Value) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests, "limits": limits}}]}})
}

fn charge_one(quota: Value, counted: Counted<'_>, object: &Value) -> Result<Vec<(usize, Value)>, String> {
    charge(&[quota], counted, object, None, "", now())
}

/// `TestAdmissionIgnoresDelete` and its neighbours.
#[test]
fn what_fits_is_charged_and_what_does_not_is_told() {
    let hard = json!({"cpu": "3", "memory": "100Gi", "pods": "5"});
    let used = json!({"cpu": "1", "memory": "50Gi", "pods": "3"});
    let small = pod(json!({"cpu": "100m", "memory": "2Gi"}), json!({}));
    let charged = charge_one(quota(hard.clone(), used.clone(), json!({})), PODS, &small).unwrap();
    assert_eq!(charged, [(0, json!({"cpu": "1100m", "memory": "52Gi", "pods": "4"}))]);
    let large = pod(json!({"cpu": "3", "memory": "2Gi"}), json!({}));
    assert_eq!(
        charge_one(quota(hard.clone(), used.clone(), json!({})), PODS, &large).unwrap_err(),
        "exceeded quota: quota, requested: cpu=3, used: cpu=1, limited: cpu=3"
    );
    let silent = pod(json!({}), json!({}));
    assert_eq!(
        charge_one(quota(hard.clone(), used, json!({})), PODS, &silent).unwrap_err(),
        "failed quota: quota: must specify cpu for: c; memory for: c"
    );
    assert_eq!(
        charge_one(quota(hard, json!({"cpu": "1"}), json!({})), PODS, &small).unwrap_err(),
        "status unknown for quota: quota, resources: cpu,memory,pods"
    );
}

#[test]
fn scopes_choose_pods() {
    let hard = json!({"pods": "5"});
    let of = |spec: Value, pod: &Value| {
        charge_one(quota(hard.clone(), json!({"pods": "0"}), spec), PODS, pod).unwrap().len()
    };
    let best_effort = pod(json!({}), json!({}));
    let burstable = pod(json!({"cpu": "1"}), json!({}));
    let mut ending = best_effort.clone();
    ending["spec"]["activeDeadlineSeconds"] = json!(5);
    assert_eq!(of(json!({"scopes": ["BestEffort"]}), &best_effort), 1);
    assert_eq!(of(json!({"scopes": ["BestEffort"]}), &burstable), 0);
    assert_eq!(of(json!({"scopes": ["NotBestEffort"]}), &burstable), 1);
    assert_eq!(of(json!({"scopes": ["Terminating"]}), &ending), 1);
    assert_eq!(of(json!({"scopes": ["NotTerminating"]}), &ending), 0);
    let class = json!({"scopeSelector": {"matchExpressions": [
        {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]},
    ]}});
    let mut high = best_effort.clone();
    high["spec"]["priorityClassName"] = json!("high");
    assert_eq!((of(class.clone(), &high), of(class, &best_effort)), (1, 0));
    let crossing = json!({"scopes": ["CrossNamespacePodAffinity"]});
    let mut crosses = best_effort.clone();
    crosses["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
        json!([{"namespaces": ["other"]}]);
    assert_eq!((of(crossing.clone(), &crosses), of(crossing, &best_effort)), (1, 0));
}

#[test]
fn pods_use_what_they_ask_for_until_they_end() {
    let asked = pod(
        json!({"cpu": "1", "example.com/gpu": "2", "hugepages-2Mi": "4Mi"}),
        json!({"memory": "1Gi", "example.com/gpu": "2"}),
    );
    let usage = write(&PODS.usage(&asked, now()));
    let expected = json!({
        "count/pods": "1", "cpu": "1", "hugepages-2Mi": "4Mi", "limits.memory": "1Gi", "pods": "1",
        "requests.cpu": "1", "requests.example.com/gpu": "2", "requests.hugepages-2Mi": "4Mi",
    });
    assert_eq!(usage, expected);
    let mut ended = asked;
    ended["status"]["phase"] = json!("Succeeded");
    assert_eq!(write(&PODS.usage(&ended, now())), json!({"count/pods": "1"}));
}

#[test]
fn services_and_claims_use_ports_and_storage() {
    let service = |spec: Value| write(&Counted::new("", "services").usage(&json!({"spec": spec}), now()));
    let ports = json!([{"port": 1}, {"port": 2, "nodePort": 30000}]);
    assert_eq!(service(json!({"type": "NodePort", "ports": ports}))["services.nodeports"], "2");
    let balancer = service(json!({"type": "LoadBalancer", "ports": ports, "allocateLoadBalancerNodePorts": false}));
    assert_eq!((&balancer["services.nodeports"], &balancer["services.loadbalancers"]), (&json!("1"), &json!("1")));
    let claim = json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "10Gi"}}}});
    let used = write(&Counted::new("", "persistentvolumeclaims").usage(&claim, now()));
    assert_eq!(used["gold.storageclass.storage.k8s.io/requests.storage"], "10Gi");
    assert_eq!(used["requests.storage"], "10Gi");
    assert!(
        Counted::new("", "persistentvolumeclaims")
            .counts_for("gold.storageclass.storage.k8s.io/persistentvolumeclaims")
    );
}

#[test]
fn any_resource_is_counted_by_its_name() {
    let jobs = Counted::new("batch", "jobs");
    let limited = quota(json!({"count/jobs.batch": "1"}), json!({"count/jobs.batch": "1"}), json!({}));
    assert_eq!(
        charge_one(limited, jobs, &json!({})).unwrap_err(),
        "exceeded quota: quota, requested: count/jobs.batch=1, used: count/jobs.batch=1, limited: count/jobs.batch=1"
    );
    assert_eq!(Counted::of_count_name("count/jobs.batch"), Some(jobs));
    assert_eq!(Counted::of_count_name("count/pods"), Some(PODS));
}

#[test]
fn an_update_is_charged_with_what_it_adds() {
    let services = Counted::new("", "services");
    let limited = quota(
        json!({"services.nodeports": "2", "services": "1"}),
        json!({"services.nodeports": "0", "services": "1"}),
        json!({}),
    );
    let old = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 1}]}});
    let new = json!({"spec": {"type": "NodePort", "ports": [{"port": 1}]}});
    let charged = charge(std::slice::from_ref(&limited), services, &new, Some(&old), "", now()).unwrap();
    assert_eq!(charged, [(0, json!({"services": "1", "services.nodeports": "1"}))]);
    assert_eq!(charge(&[limited], services, &old, Some(&new), "", now()).unwrap(), []);
}

#[test]
fn the_status_counts_everything_in_scope() {
    let pods = [pod(json!({"cpu": "1"}), json!({})), pod(json!({"cpu": "500m"}), json!({}))];
    let quota = json!({"spec": {"hard": {"cpu": "4", "pods": "10", "secrets": "3"}}});
    let status = status(&quota, pods.iter().map(|pod| (PODS, pod)), now());
    assert_eq!(status["used"], json!({"cpu": "1500m", "pods": "2", "secrets": "0"}));
    assert_eq!(status["hard"], json!({"cpu": "4", "pods": "10", "secrets": "3"}));
}
