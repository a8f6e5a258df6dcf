//! The kinds that make pods from a template: ReplicationController, ReplicaSet, Deployment, DaemonSet, StatefulSet, Job, CronJob.
use crate::kind::Kind;

mod replication_controller;

pub(crate) static KINDS: &[Kind] = &[replication_controller::KIND];
