use serde_json::{Value, json};

use super::*;
use crate::job::pods;

/// A Job with its pods; every step of a plan is carried out as the API server and the kubelets would.
struct World {
    job: Job,
    pods: Vec<Arc<Pod>>,
    made: usize,
    now: Timestamp,
}

impl World {
    fn new(spec: Value) -> Self {
        let mut job = json!({"metadata": {"name": "j", "namespace": "d", "uid": "u"},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}}}});
        for (key, value) in spec.as_object().unwrap() {
            job["spec"][key] = value.clone();
        }
        let now = Timestamp::from_second(1000).unwrap();
        Self { job: serde_json::from_value(job).unwrap(), pods: Vec::new(), made: 0, now }
    }

    /// One look and what follows from it.
    fn step(&mut self) -> Plan {
        let plan = plan(&self.job, &self.pods, self.now);
        self.job.status = Some(plan.status.clone());
        for gone in plan.discard.iter().chain(&plan.release) {
            self.change(gone, |pod| pod.metadata.finalizers = None);
        }
        for ended in plan.end.iter().chain(&plan.discard) {
            self.pods.retain(|pod| pod.uid() != ended.uid() || is_tracked(pod));
            self.change(ended, |pod| pod.status.get_or_insert_default().phase = Some("Failed".into()));
        }
        for index in &plan.create {
            let mut pod = pods::new(&self.job, *index);
            self.made += 1;
            pod.metadata.name = Some(format!("p{}", self.made));
            pod.metadata.uid = Some(format!("p{}", self.made));
            self.pods.push(Arc::new(pod));
        }
        plan
    }

    fn settle(&mut self) {
        for _ in 0..10 {
            self.step();
        }
    }

    fn change(&mut self, pod: &Pod, change: impl Fn(&mut Pod)) {
        for found in self.pods.iter_mut().filter(|found| found.uid() == pod.uid()) {
            change(Arc::make_mut(found));
        }
    }

    /// Ends every active pod.
    fn end_all(&mut self, phase: &str) {
        for pod in self.pods.iter_mut().filter(|pod| is_active(pod)) {
            let at = Time(self.now);
            let pod = Arc::make_mut(pod);
            pod.metadata.creation_timestamp = Some(at);
            pod.status.get_or_insert_default().phase = Some(phase.into());
        }
    }

    fn active(&self) -> usize {
        self.pods.iter().filter(|pod| is_active(pod)).count()
    }

    fn ended(&self) -> Option<(String, String)> {
        let end = finished(self.job.status.as_ref()?)?;
        Some((end.type_.clone(), end.reason.clone()?))
    }

    fn counts(&self) -> (i32, i32) {
        let status = self.job.status.as_ref().unwrap();
        (status.succeeded.unwrap_or(0), status.failed.unwrap_or(0))
    }
}

#[test]
fn a_job_runs_as_many_pods_at_once_as_it_may_until_enough_have_succeeded() {
    let mut world = World::new(json!({"parallelism": 2, "completions": 3}));
    world.settle();
    assert_eq!(world.active(), 2);
    world.end_all("Succeeded");
    world.settle();
    assert_eq!((world.active(), world.counts()), (1, (2, 0)));
    world.end_all("Succeeded");
    world.settle();
    assert_eq!(world.counts(), (3, 0));
    assert_eq!(world.ended(), Some(("Complete".into(), "CompletionsReached".into())));
    assert!(world.pods.iter().all(|pod| !is_tracked(pod)), "every pod may go");
}

#[test]
fn a_pod_is_counted_once_whatever_happens_between_the_steps() {
    let mut world = World::new(json!({"completions": 2}));
    world.settle();
    world.end_all("Succeeded");
    let before = world.job.clone();
    let first = plan(&world.job, &world.pods, world.now);
    assert_eq!(first.status.succeeded, None, "not a number yet");
    assert!(first.release.is_empty(), "its UID is not stored yet");
    // The status was not stored: the same again.
    world.job = before;
    world.step();
    assert_eq!(world.step().release.len(), 1);
    world.pods.clear();
    world.settle();
    assert_eq!(world.counts(), (1, 0));
}

#[test]
fn failures_back_off_and_end_the_job_at_its_limit() {
    let mut world = World::new(json!({"backoffLimit": 1}));
    world.settle();
    world.end_all("Failed");
    world.settle();
    assert_eq!((world.active(), world.counts()), (0, (0, 1)));
    assert_eq!(world.step().again, Some(SignedDuration::from_secs(10)));
    world.now += SignedDuration::from_secs(10);
    world.settle();
    assert_eq!(world.active(), 1);
    world.end_all("Failed");
    world.settle();
    assert_eq!(world.counts(), (0, 2));
    assert_eq!(world.ended(), Some(("Failed".into(), "BackoffLimitExceeded".into())));
}

#[test]
fn an_indexed_job_gives_each_index_to_one_pod_and_repeats_what_failed() {
    let mut world = World::new(json!({"completionMode": "Indexed", "parallelism": 3, "completions": 3}));
    world.settle();
    let indexes: Vec<_> = world.pods.iter().map(|pod| index(pod).unwrap()).collect();
    assert_eq!(indexes, [0, 1, 2]);
    let failing = world.pods[1].clone();
    world.change(&failing, |pod| pod.status.get_or_insert_default().phase = Some("Failed".into()));
    world.end_all("Succeeded");
    world.now += SignedDuration::from_secs(60);
    world.settle();
    assert_eq!(world.job.status.as_ref().unwrap().completed_indexes.as_deref(), Some("0,2"));
    let again: Vec<_> = world.pods.iter().filter(|pod| is_active(pod)).map(|pod| index(pod).unwrap()).collect();
    assert_eq!(again, [1]);
    world.end_all("Succeeded");
    world.settle();
    assert_eq!(world.job.status.as_ref().unwrap().completed_indexes.as_deref(), Some("0-2"));
    assert!(world.ended().is_some());
}

#[test]
fn a_deadline_ends_the_job_and_its_pods() {
    let mut world = World::new(json!({"activeDeadlineSeconds": 30}));
    world.settle();
    assert_eq!(world.active(), 1);
    assert_eq!(world.step().again, Some(SignedDuration::from_secs(30)));
    world.now += SignedDuration::from_secs(30);
    world.settle();
    assert_eq!(world.active(), 0);
    assert_eq!(world.ended(), Some(("Failed".into(), "DeadlineExceeded".into())));
}

#[test]
fn a_suspended_job_has_no_pods_and_counts_none_as_failed() {
    let mut world = World::new(json!({"parallelism": 2, "completions": 2}));
    world.settle();
    world.job.spec.as_mut().unwrap().suspend = Some(true);
    world.settle();
    assert_eq!((world.active(), world.counts()), (0, (0, 0)));
    assert!(condition(world.job.status.as_ref().unwrap(), "Suspended").is_some());
    world.job.spec.as_mut().unwrap().suspend = Some(false);
    world.settle();
    assert_eq!(world.active(), 2);
    assert!(condition(world.job.status.as_ref().unwrap(), "Suspended").is_none());
}

#[test]
fn a_work_queue_is_done_when_one_pod_says_so_and_the_others_have_ended() {
    let mut world = World::new(json!({"parallelism": 2}));
    world.settle();
    let first = world.pods[0].clone();
    world.change(&first, |pod| pod.status.get_or_insert_default().phase = Some("Succeeded".into()));
    world.settle();
    assert_eq!((world.active(), world.ended()), (1, None));
    world.end_all("Succeeded");
    world.settle();
    assert_eq!(world.counts(), (2, 0));
    assert!(world.ended().is_some());
}

#[test]
fn a_deadline_beyond_the_end_of_time_never_comes() {
    let mut world = World::new(json!({"completions": 1, "activeDeadlineSeconds": i64::MAX}));
    let plan = world.step();
    assert_eq!(plan.create.len(), 1);
    assert!(plan.again.is_some_and(|again| again.is_positive()));
    world.step();
    assert!(condition(world.job.status.as_ref().unwrap(), "FailureTarget").is_none());
}
