use serde_json::{Value, json};

use super::*;
use crate::stateful_set::pods;

fn set(replicas: i32, spec: Value) -> StatefulSet {
    let mut set = json!({"metadata": {"name": "db", "namespace": "d", "uid": "u"}, "spec": {
        "replicas": replicas, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
        "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c"}]}},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]}});
    for (key, value) in spec.as_object().unwrap() {
        set["spec"][key] = value.clone();
    }
    serde_json::from_value(set).unwrap()
}

fn pod(set: &StatefulSet, place: i32, revision: &str, ready: bool) -> Arc<Pod> {
    let mut pod = pods::new(set, &set.spec.as_ref().unwrap().template, revision, place);
    pod.metadata.uid = Some(format!("{place}-{revision}"));
    let ready = if ready { "True" } else { "False" };
    pod.status = serde_json::from_value(json!({"phase": "Running", "conditions": [
        {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}))
    .unwrap();
    Arc::new(pod)
}

fn step(set: &StatefulSet, pods: &[Arc<Pod>], current: &str, update: &str) -> (Vec<(i32, bool)>, Vec<String>) {
    let plan = plan(set, Revisions { current, update }, pods, Timestamp::now());
    (plan.create, plan.delete.iter().map(|pod| pod.name_any()).collect())
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_pod_has_a_name_a_host_name_and_claims_of_its_own() {
    let pod = pod(&set(1, json!({})), 2, "r1", true);
    let spec = pod.spec.as_ref().unwrap();
    assert_eq!(
        (pod.name_any().as_str(), spec.hostname.as_deref(), spec.subdomain.as_deref()),
        ("db-2", Some("db-2"), Some("db"))
    );
    let volume = &spec.volumes.as_ref().unwrap()[0];
    assert_eq!(volume.persistent_volume_claim.as_ref().unwrap().claim_name, "data-db-2");
}

#[test]
fn pods_come_one_after_the_other_when_the_last_one_serves() {
    let set = set(3, json!({}));
    assert_eq!(step(&set, &[], "r1", "r1"), (vec![(0, true)], vec![]));
    assert_eq!(step(&set, &[pod(&set, 0, "r1", false)], "r1", "r1"), (vec![], vec![]));
    assert_eq!(step(&set, &[pod(&set, 0, "r1", true)], "r1", "r1"), (vec![(1, true)], vec![]));
    let hole = [pod(&set, 0, "r1", true), pod(&set, 2, "r1", true)];
    assert_eq!(step(&set, &hole, "r1", "r1"), (vec![(1, true)], vec![]));
}

#[test]
fn parallel_sets_do_everything_at_once() {
    let set = set(3, json!({"podManagementPolicy": "Parallel", "ordinals": {"start": 5}}));
    assert_eq!(step(&set, &[], "r1", "r1").0, [(5, true), (6, true), (7, true)]);
}

#[test]
fn scaling_down_takes_the_highest_and_waits_for_it() {
    let set = set(1, json!({}));
    let mut pods = [0, 1, 2].map(|place| pod(&set, place, "r1", true));
    assert_eq!(step(&set, &pods, "r1", "r1").1, names(&["db-2"]));
    Arc::make_mut(&mut pods[2]).metadata.deletion_timestamp =
        serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    assert_eq!(step(&set, &pods, "r1", "r1").1, names(&[]));
    assert_eq!(step(&set, &pods[..2], "r1", "r1").1, names(&["db-1"]));
}

#[test]
fn an_update_goes_from_the_highest_down_and_waits_for_each() {
    let set = set(3, json!({}));
    let old = [0, 1, 2].map(|place| pod(&set, place, "r1", true));
    assert_eq!(step(&set, &old, "r1", "r2").1, names(&["db-2"]));
    assert_eq!(step(&set, &old[..2], "r1", "r2").0, [(2, true)]);
    let mixed = [old[0].clone(), old[1].clone(), pod(&set, 2, "r2", true)];
    assert_eq!(step(&set, &mixed, "r1", "r2").1, names(&["db-1"]));
    let waiting = [old[0].clone(), old[1].clone(), pod(&set, 2, "r2", false)];
    assert_eq!(step(&set, &waiting, "r1", "r2"), (vec![], vec![]));
}

#[test]
fn a_partition_keeps_the_lower_ones_back_also_when_they_are_made_again() {
    let set = set(3, json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}));
    let pods = [pod(&set, 0, "r1", true), pod(&set, 1, "r1", true), pod(&set, 2, "r2", true)];
    assert_eq!(step(&set, &pods, "r1", "r2"), (vec![], vec![]));
    assert_eq!(step(&set, &pods[1..], "r1", "r2").0, [(0, false)]);
}

#[test]
fn a_finished_rollout_makes_the_update_the_current_revision() {
    let set = set(2, json!({}));
    let pods = [0, 1].map(|place| pod(&set, place, "r2", true));
    let found = plan(&set, Revisions { current: "r1", update: "r2" }, &pods, Timestamp::now());
    assert_eq!(found.status.current_revision.as_deref(), Some("r2"));
    assert_eq!((found.status.current_replicas, found.status.updated_replicas), (Some(2), Some(2)));
}

#[test]
fn a_pod_that_ended_is_made_again() {
    let set = set(1, json!({}));
    let mut ended = pod(&set, 0, "r1", false);
    Arc::make_mut(&mut ended).status.as_mut().unwrap().phase = Some("Failed".into());
    assert_eq!(step(&set, &[ended], "r1", "r1").1, names(&["db-0"]));
}

#[test]
fn the_largest_numbers_are_planned_with_like_any_others() {
    let update = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": i32::MAX, "maxUnavailable": "100%"}});
    let spec = json!({"updateStrategy": update, "ordinals": {"start": 1}, "podManagementPolicy": "Parallel"});
    let large = set(i32::MAX, spec.clone());
    let (create, delete) = step(&large, &[pod(&large, 1, "r1", true)], "r1", "r2");
    assert_eq!((create.len(), create[0], delete.len()), (BURST, (2, false), 0), "not all at once");
    assert_eq!(max_unavailable(&large), i32::MAX);
    let kept_back = set(1, spec);
    assert_eq!(step(&kept_back, &[pod(&kept_back, 1, "r1", true)], "r1", "r2"), (vec![], vec![]));
}
