use serde_json::{Value, json};

use super::*;
use crate::deployment::revision::split;

fn deployment(replicas: i32, image: &str, strategy: Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "d", "uid": "u"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "strategy": strategy,
            "revisionHistoryLimit": 2,
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}}}))
    .unwrap()
}

fn rolling(surge: i32, unavailable: i32) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

/// A world in which every step is carried out, and pods become available if `healthy` says so of their image.
struct World {
    sets: Vec<ReplicaSet>,
    deployment: Deployment,
    /// Most and least pods seen, and fewest available.
    most: i32,
    least_available: i32,
}

impl World {
    fn new(deployment: Deployment) -> Self {
        Self { sets: Vec::new(), deployment, most: 0, least_available: i32::MAX }
    }

    fn step(&mut self) -> bool {
        let (new, old) = split(&self.deployment, self.sets.clone());
        let old_pods = old.iter().any(|set| actual(set) > 0);
        let plan = plan(&self.deployment, &Sets { new, old }, old_pods);
        if plan == Plan::default() {
            return false;
        }
        if let Some(mut set) = plan.create {
            let age = format!("2026-01-01T00:00:{:02}Z", self.sets.len());
            set.metadata.creation_timestamp = serde_json::from_value(json!(age)).unwrap();
            self.sets.push(set);
        }
        for set in plan.update {
            let old = self.sets.iter_mut().find(|old| old.name_any() == set.name_any());
            *old.unwrap() = set;
        }
        let gone: Vec<String> = plan.delete.iter().map(|set| set.name_any()).collect();
        self.sets.retain(|set| !gone.contains(&set.name_any()));
        true
    }

    fn run(&mut self, healthy: impl Fn(&str) -> bool) {
        for _ in 0..100 {
            let before = self.sets.clone();
            self.step();
            let total: i32 = self.sets.iter().map(size).sum();
            self.most = self.most.max(total);
            for set in &mut self.sets {
                let image = set.spec.as_ref().unwrap().template.as_ref().unwrap().spec.as_ref().unwrap().containers[0]
                    .image
                    .clone();
                let size = size(set);
                let available = if healthy(&image.unwrap()) { size } else { 0 };
                let before = available_of(set).min(size);
                let status = json!({"replicas": size, "availableReplicas": available.max(before)});
                set.status = serde_json::from_value(status).unwrap();
            }
            let available: i32 = self.sets.iter().map(available).sum();
            if self.deployment.status.is_some() {
                self.least_available = self.least_available.min(available);
            }
            let (new, _) = split(&self.deployment, self.sets.clone());
            let status = json!({"replicas": self.sets.iter().map(size).sum::<i32>(), "availableReplicas": available,
                "updatedReplicas": new.as_ref().map_or(0, size)});
            self.deployment.status = serde_json::from_value(status).unwrap();
            if self.sets == before {
                return;
            }
        }
        panic!("it never settles: {:?}", self.sizes());
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(size).collect()
    }

    fn image(&mut self, image: &str) {
        let template = &mut self.deployment.spec.as_mut().unwrap().template;
        template.spec.as_mut().unwrap().containers[0].image = Some(image.into());
    }
}

fn available_of(set: &ReplicaSet) -> i32 {
    available(set)
}

#[test]
fn a_rollout_stays_within_its_limits_and_ends_with_the_new_revision() {
    let mut world = World::new(deployment(10, "v1", rolling(3, 2)));
    world.run(|_| true);
    assert_eq!(world.sizes(), [10]);
    world.image("v2");
    world.run(|_| true);
    assert_eq!(world.sizes(), [0, 10]);
    assert!(world.most <= 13, "{}", world.most);
    assert!(world.least_available >= 8, "{}", world.least_available);
    let revisions: Vec<i64> = world.sets.iter().map(revision::revision).collect();
    assert_eq!(revisions, [1, 2]);
}

#[test]
fn a_broken_revision_does_not_take_more_than_it_may_and_can_be_rolled_back() {
    let mut world = World::new(deployment(10, "v1", rolling(3, 2)));
    world.run(|_| true);
    world.image("broken");
    world.run(|image| image != "broken");
    assert_eq!(world.sizes(), [8, 5]);
    assert!(world.least_available >= 8);
    world.image("v1");
    world.run(|image| image != "broken");
    assert_eq!(world.sizes(), [10, 0]);
    assert_eq!(revision::revision(&world.sets[0]), 3, "the old revision is the newest again");
    assert_eq!(world.sets[0].annotations()["deployment.kubernetes.io/revision-history"], "1");
}

#[test]
fn recreate_waits_until_the_old_pods_are_gone() {
    let mut world = World::new(deployment(3, "v1", json!({"type": "Recreate"})));
    world.run(|_| true);
    world.image("v2");
    world.step();
    assert_eq!(world.sizes(), [0]);
    world.step();
    assert_eq!(world.sizes(), [0], "their pods are still there");
    world.run(|_| true);
    assert_eq!(world.sizes(), [0, 3]);
    assert_eq!(world.most, 3);
}

#[test]
fn scaling_during_a_rollout_is_proportional() {
    let mut world = World::new(deployment(10, "v1", rolling(3, 2)));
    world.run(|_| true);
    world.image("broken");
    world.run(|image| image != "broken");
    world.deployment.spec.as_mut().unwrap().replicas = Some(15);
    world.step();
    // As in Kubernetes' documentation: 3 of the 5 additional ones go to the old revision, 2 to the new one.
    assert_eq!(world.sizes(), [11, 7]);
}

#[test]
fn a_paused_deployment_is_scaled_and_not_rolled_out() {
    let mut world = World::new(deployment(2, "v1", rolling(1, 0)));
    world.run(|_| true);
    world.deployment.spec.as_mut().unwrap().paused = Some(true);
    world.image("v2");
    world.deployment.spec.as_mut().unwrap().replicas = Some(4);
    world.run(|_| true);
    assert_eq!(world.sizes(), [4]);
}

#[test]
fn only_some_old_revisions_are_kept() {
    let mut world = World::new(deployment(1, "v0", rolling(1, 0)));
    for version in 0..6 {
        world.image(&format!("v{version}"));
        world.run(|_| true);
    }
    assert_eq!(world.sizes(), [0, 0, 1]);
}

#[test]
fn the_largest_numbers_are_planned_with_like_any_others() {
    let most = i32::MAX;
    let mut world = World::new(deployment(most, "v1", rolling(most, most)));
    world.step();
    world.step();
    assert_eq!(world.sets.iter().map(size).collect::<Vec<_>>(), [most]);
    world.deployment = deployment(most, "v2", rolling(most, 0));
    world.step();
    for set in &mut world.sets {
        set.spec.as_mut().unwrap().replicas = Some(most);
    }
    world.deployment = deployment(most - 1, "v2", rolling(most, 0));
    world.step();
    world.step();
    assert!(world.sets.iter().all(|set| size(set) >= 0));
    let (new, old) = split(&world.deployment, world.sets.clone());
    let status = crate::deployment::status::status(&world.deployment, &Sets { new, old }, jiff::Timestamp::UNIX_EPOCH);
    assert!(status.unavailable_replicas.is_some());
}
