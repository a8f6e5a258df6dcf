//! What all parts of one kubelet share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use orlop_cri::{CriClient, CriError};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::env::FieldContext;
use crate::events::Recorder;
use crate::node::Machine;
use crate::objects::{Objects, Services};
use crate::pod;
use crate::pods::Known;
use crate::spec::ResolvConf;
use crate::state::resize::{Amount, Room, used};
use crate::turns::Turns;
use crate::volumes::Tokens;

/// Whether the runtime can run pods, and why not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeHealth {
    /// Empty when the runtime answers and is ready.
    pub runtime: String,
    /// Empty when the pod network is ready.
    pub network: String,
}

/// The shared parts: where to ask, whom to tell.
pub struct Kubelet {
    pub config: Config,
    pub cri: CriClient,
    pub recorder: Recorder,
    pub objects: Objects,
    pub services: Arc<Services>,
    pub tokens: Tokens,
    pub machine: Machine,
    /// The pods that the API server has given this node.
    pub known: Known,
    /// What is allocated to each pod, by UID.
    pub allocated: Mutex<HashMap<String, Amount>>,
    /// Turns at making and taking down sandboxes with their networks.
    pub sandbox_turns: Turns,
    pub health: watch::Sender<RuntimeHealth>,
    /// The node's resolver configuration.
    pub resolv_conf: RwLock<ResolvConf>,
    /// Counts reconnections, see [`crate::watches`].
    pub reconnected: watch::Sender<u64>,
    /// Calls to the runtime that must come to their end.
    pub calls: TaskTracker,
    /// Cached `nodeInfo.containerRuntimeVersion`.
    pub runtime_version: Mutex<Option<String>>,
}

impl Kubelet {
    /// The node's addresses as text, the primary one first.
    pub fn node_ips(&self) -> Vec<String> {
        self.config.node_ips.iter().map(ToString::to_string).collect()
    }

    /// Makes a call to the runtime that goes on when this future is dropped. A runtime that is interrupted in the middle of a start
    /// or a command has work to undo, and containerd's shims before 1.7 may never answer again after a command was interrupted.
    pub async fn whole<T, F>(&self, call: F) -> Result<T, CriError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, CriError>> + Send + 'static,
    {
        let lost = |error: tokio::task::JoinError| CriError::lost(error.to_string());
        self.calls.spawn(call).await.unwrap_or_else(|error| Err(lost(error)))
    }

    /// What a pod with these addresses may ask about itself.
    pub fn field_context(&self, pod_ips: &[String]) -> FieldContext {
        let (cpu, memory) = self.machine.allocatable(&self.config);
        FieldContext {
            node_name: self.config.node_name.clone(),
            node_ips: self.node_ips(),
            pod_ips: pod_ips.to_vec(),
            allocatable_cpu: cpu,
            allocatable_memory: memory,
        }
    }

    /// What the node can give, and what its pods but this one have of it.
    pub fn room(&self, uid: &str, allocated: &HashMap<String, Amount>) -> Room {
        let (cpu, memory) = self.machine.allocatable(&self.config);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let others = known.values().filter(|pod| pod::uid(pod) != uid && !pod::is_terminal(pod));
        Room { capacity: Amount { cpu, memory }, used: used(others.map(Arc::as_ref), allocated) }
    }

    /// The node's resolver configuration.
    pub fn resolv_conf(&self) -> ResolvConf {
        self.resolv_conf.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the node's resolver configuration again; a node without one has none.
    pub fn read_resolv_conf(&self) {
        let text = std::fs::read_to_string(&self.config.resolv_conf).unwrap_or_default();
        *self.resolv_conf.write().unwrap_or_else(PoisonError::into_inner) = ResolvConf::parse(&text);
    }

    /// Asks the runtime for its conditions.
    pub async fn check_runtime(&self) {
        let mut health = RuntimeHealth::default();
        match self.cri.status(false).await {
            Ok(reply) => {
                let conditions = reply.status.unwrap_or_default().conditions;
                let say = |type_: &str| match conditions.iter().find(|condition| condition.r#type == type_) {
                    Some(condition) if condition.status => String::new(),
                    Some(condition) => format!(
                        "{type_}={} reason:{} message:{}",
                        condition.status, condition.reason, condition.message
                    ),
                    None => format!("{type_} is not reported"),
                };
                health.runtime = say("RuntimeReady");
                health.network = say("NetworkReady");
            }
            Err(error) => health.runtime = error.to_string(),
        }
        self.health.send_if_modified(|known| {
            let changed = *known != health;
            *known = health;
            changed
        });
    }

    /// Checks the runtime for ever: often until it is ready, every 5 s afterwards.
    pub async fn watch_runtime(&self) {
        loop {
            self.check_runtime().await;
            let ready = *self.health.borrow() == RuntimeHealth::default();
            tokio::time::sleep(Duration::from_millis(if ready { 5000 } else { 200 })).await;
        }
    }
}
