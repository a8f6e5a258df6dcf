use super::*;
use serde_json::json;

fn row(spec: Value, status: Value) -> Vec<String> {
    row_of(json!({"metadata": {"name": "test1"}, "spec": spec, "status": status}))
}

fn row_of(pod: Value) -> Vec<String> {
    let now = "2026-01-01T00:10:00Z".parse().unwrap();
    cells(&pod, now).iter().take(4).map(|cell| cell.as_str().unwrap().to_owned()).collect()
}

fn two() -> Value {
    json!({"containers": [{"name": "a"}, {"name": "b"}]})
}

#[test]
fn the_phase_and_the_reason_are_shown_until_containers_say_more() {
    let one_ready = json!([{"ready": true, "restartCount": 3, "state": {"running": {}}}, {"restartCount": 3}]);
    assert_eq!(
        row(two(), json!({"phase": "podPhase", "containerStatuses": one_ready})),
        ["test1", "1/2", "podPhase", "6"]
    );
    assert_eq!(
        row(two(), json!({"phase": "podPhase", "reason": "podReason", "containerStatuses": one_ready})),
        ["test1", "1/2", "podReason", "6"]
    );
    let waiting = json!([{"ready": true, "restartCount": 3, "state": {"running": {}}}, {"restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]);
    assert_eq!(
        row(two(), json!({"phase": "Running", "containerStatuses": waiting})),
        ["test1", "1/2", "CrashLoopBackOff", "6"]
    );
}

#[test]
fn ended_containers_show_reason_signal_or_exit_code() {
    for (terminated, shown) in [
        (json!({"reason": "Error", "exitCode": 1}), "Error"),
        (json!({"signal": 9}), "Signal:9"),
        (json!({"exitCode": 3}), "ExitCode:3"),
        (json!({"reason": "OOMKilled", "exitCode": 137}), "OOMKilled"),
    ] {
        let status = json!({"phase": "Running", "containerStatuses": [{"state": {"terminated": terminated}}]});
        assert_eq!(row(json!({"containers": [{}]}), status)[2], shown);
    }
}

#[test]
fn a_pod_with_a_completed_container_is_running_if_it_is_ready() {
    let statuses =
        json!([{"state": {"terminated": {"reason": "Completed"}}}, {"ready": true, "state": {"running": {}}}]);
    let status =
        json!({"phase": "Running", "containerStatuses": statuses, "conditions": [{"type": "Ready", "status": "True"}]});
    assert_eq!(row(two(), status), ["test1", "1/2", "Running", "0"]);
    assert_eq!(row(two(), json!({"phase": "Running", "containerStatuses": statuses}))[2], "NotReady");
    let failed = json!([{"state": {"terminated": {"reason": "Completed"}}}, {"state": {"terminated": {"reason": "Error", "exitCode": 1}}}]);
    assert_eq!(row(two(), json!({"phase": "Running", "containerStatuses": failed}))[2], "Error");
}

#[test]
fn init_containers_show_progress_and_trouble() {
    let spec = json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{}]});
    for (state, shown) in [
        (json!({"waiting": {}}), "Init:0/2"),
        (json!({"waiting": {"reason": "PodInitializing"}}), "Init:0/2"),
        (json!({"waiting": {"reason": "ImagePullBackOff"}}), "Init:ImagePullBackOff"),
        (json!({"terminated": {"exitCode": 1}}), "Init:ExitCode:1"),
        (json!({"terminated": {"exitCode": 1, "signal": 9}}), "Init:Signal:9"),
        (json!({"terminated": {"exitCode": 1, "reason": "Error"}}), "Init:Error"),
    ] {
        let status = json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": state}]});
        assert_eq!(row(spec.clone(), status)[2], shown);
    }
    let done = json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 0}}}, {"name": "j", "state": {"running": {}}}]});
    assert_eq!(row(spec, done)[2], "Init:1/2");
}

#[test]
fn sidecars_count_as_containers_and_keep_their_restarts() {
    let spec = json!({"initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "c"}]});
    let status = json!({"phase": "Running",
        "initContainerStatuses": [
            {"name": "i", "restartCount": 2, "state": {"terminated": {"exitCode": 0}}},
            {"name": "s", "ready": true, "started": true, "restartCount": 3, "state": {"running": {}}, "lastState": {"terminated": {"finishedAt": "2026-01-01T00:09:50Z"}}}],
        "containerStatuses": [{"name": "c", "ready": true, "restartCount": 1, "state": {"running": {}}}]});
    assert_eq!(row(spec, status), ["test1", "2/2", "Running", "4 (10s ago)"]);
}

#[test]
fn a_deleted_pod_is_terminating_unless_it_has_ended() {
    let pod = |phase: &str, reason: &str| json!({"metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": two(), "status": {"phase": phase, "reason": reason}});
    assert_eq!(row_of(pod("Running", ""))[2], "Terminating");
    assert_eq!(row_of(pod("Running", "NodeLost"))[2], "Unknown");
    assert_eq!(row_of(pod("Succeeded", ""))[2], "Succeeded");
}

#[test]
fn wide_columns_say_none_when_there_is_nothing() {
    let now = "2026-01-01T00:10:00Z".parse().unwrap();
    let cells = cells(
        &json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "readinessGates": [{"conditionType": "x"}, {"conditionType": "y"}]},
        "status": {"podIPs": [{"ip": "1.1.1.1"}], "conditions": [{"type": "x", "status": "True"}]}}),
        now,
    );
    assert_eq!(cells[5..], [json!("1.1.1.1"), json!("n"), json!("<none>"), json!("1/2")]);
    assert_eq!(cells.len(), COLUMNS.len());
}
