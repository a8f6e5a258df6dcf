//! The actions of a plan: sandboxes and containers of a pod that shall run.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::{Worker, hooks};
use crate::cgroups;
use crate::env::{References, Variables, environment};
use crate::error::PodError;
use crate::images::Puller;
use crate::mounts::mounts;
use crate::pod;
use crate::spec::{ContainerInput, check_run_as_non_root, container_config, sandbox_config};
use crate::state::resize::group_limits;
use crate::state::{Action, Observed, Waiting};
use crate::volumes;

impl Worker {
    /// Takes one action. An error says when to try again; why it failed is in the events and in `memory.waiting`.
    pub(super) async fn act(&mut self, pod: &Arc<Pod>, observed: &Observed, action: Action) -> Result<(), Timestamp> {
        let cri = &self.kubelet.cri;
        let result = match action {
            Action::StopSandbox { id } => cri.stop_pod_sandbox(&id).await,
            Action::Remove { id } => cri.remove_container(&id).await,
            Action::RemoveSandbox { id } => cri.remove_pod_sandbox(&id).await,
            Action::CreateSandbox { attempt } => return self.create_sandbox(pod, attempt).await,
            Action::Kill { id, name, message, why } => {
                let grace = super::kill::grace_for(pod, &name, why);
                return self.kill(pod, &id, &name, &message, grace).await.map_err(|_| self.pause());
            }
            Action::Resize { id, name } => return self.resize(pod, observed, &id, &name).await,
            Action::Start { name, restart_count } => {
                let ephemeral = pod::ephemeral_containers(pod).iter().find(|ephemeral| ephemeral.name == name);
                let ephemeral = ephemeral.map(pod::as_container);
                let Some(container) = pod::container(pod, &name).or(ephemeral.as_ref()) else { return Ok(()) };
                return match self.start(pod, observed, container, restart_count).await {
                    Ok(()) => {
                        self.memory.waiting.remove(&name);
                        self.memory.holds.remove(&name);
                        Ok(())
                    }
                    Err((waiting, retry)) => {
                        self.memory.waiting.insert(name.clone(), waiting);
                        self.memory.holds.insert(name, retry);
                        Err(retry)
                    }
                };
            }
        };
        result.map_err(|error| {
            tracing::warn!(pod = pod::display(pod), %error, "cleaning up");
            self.pause()
        })
    }

    async fn create_sandbox(&mut self, pod: &Arc<Pod>, attempt: u32) -> Result<(), Timestamp> {
        let kubelet = self.kubelet.clone();
        let network = kubelet.health.borrow().network.clone();
        if !pod::is_host_network(pod) && !network.is_empty() {
            kubelet.check_runtime().await;
            let network = kubelet.health.borrow().network.clone();
            if !network.is_empty() {
                let message = format!("network is not ready: container runtime network not ready: {network}");
                kubelet.recorder.warning(pod::reference(pod), "NetworkNotReady", message);
                return Err(self.pause());
            }
        }
        if attempt > 0 {
            let message = "Pod sandbox changed, it will be killed and re-created.";
            kubelet.recorder.normal(pod::reference(pod), "SandboxChanged", message);
        }
        cgroups::create(&kubelet.config.cgroups, pod);
        let config = sandbox_config(&kubelet.config, pod, attempt, &kubelet.resolv_conf());
        if let Err(error) = std::fs::create_dir_all(&config.log_directory) {
            tracing::warn!(%error, directory = config.log_directory, "cannot create the pod's log directory");
        }
        // The volumes are made while the runtime makes the network: neither needs the other.
        let sandbox = async {
            let _turn = kubelet.sandbox_turns.take().await;
            let cri = kubelet.cri.clone();
            kubelet.whole(self.starts.track_future(async move { cri.run_pod_sandbox(config, "").await })).await
        };
        let (sandbox, paths) = tokio::join!(sandbox, volumes::set_up(&kubelet, pod, &[], self.volumes.is_none()));
        match paths {
            Ok(paths) => self.volumes = Some(paths),
            Err(error) => self.failed_mount(pod, &error),
        }
        match sandbox {
            Ok(_) => Ok(()),
            Err(error) => {
                let message = format!("Failed to create pod sandbox: {}", error.message);
                kubelet.recorder.warning(pod::reference(pod), "FailedCreatePodSandBox", message);
                Err(self.pause())
            }
        }
    }

    fn failed_mount(&self, pod: &Pod, error: &PodError) {
        self.kubelet.recorder.warning(pod::reference(pod), "FailedMount", error.to_string());
    }

    /// Everything from the image to the running container.
    async fn start(
        &mut self,
        pod: &Arc<Pod>,
        observed: &Observed,
        container: &Container,
        restart_count: u32,
    ) -> Result<(), (Waiting, Timestamp)> {
        let kubelet = self.kubelet.clone();
        let Some(sandbox) = observed.ready_sandbox() else { return Ok(()) };
        let pod_ips = if pod::is_host_network(pod) { kubelet.node_ips() } else { sandbox.ips.clone() };
        if self.volumes.is_none() {
            match volumes::set_up(&kubelet, pod, &pod_ips, true).await {
                Ok(paths) => self.volumes = Some(paths),
                Err(error) => {
                    self.failed_mount(pod, &error);
                    let creating = Waiting { reason: "ContainerCreating".into(), message: String::new() };
                    return Err((creating, self.pause()));
                }
            }
        }
        let sandbox_config = sandbox_config(&kubelet.config, pod, sandbox.attempt, &kubelet.resolv_conf());
        let puller = Puller { cri: &kubelet.cri, recorder: &kubelet.recorder, objects: &kubelet.objects };
        let image = puller.ensure(pod, container, &sandbox_config, &mut self.memory).await?;
        let about = || pod::container_reference(pod, &container.name);
        let image_user = (image.uid, image.username.as_str());
        let prepared = async {
            check_run_as_non_root(pod, container, image_user).map_err(PodError::ContainerConfig)?;
            let variables = self.variables(pod, container, &pod_ips).await?;
            let volumes = self.volumes.clone().unwrap_or_default();
            let mounts = mounts(&kubelet.config, pod, container, restart_count, &volumes, &variables, &pod_ips)?;
            Ok::<_, PodError>((variables, mounts, target(pod, observed, &container.name)?))
        };
        let (variables, mounts, target) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => {
                kubelet.recorder.warning(about(), "Failed", format!("Error: {error}"));
                let waiting = Waiting { reason: "CreateContainerConfigError".into(), message: error.to_string() };
                return Err((waiting, self.pause()));
            }
        };
        let input = ContainerInput {
            restart_count,
            image_ref: &image.image_ref,
            image_user,
            variables: &variables,
            mounts,
            target,
            memory_capacity: kubelet.machine.memory,
        };
        let config = container_config(pod, container, input);
        if restart_count > 0 {
            // It may have ended to come back with other limits.
            let limits = group_limits(pod, observed, &self.memory);
            cgroups::limit(&kubelet.config.cgroups, pod, &limits);
        }
        let (cri, sandbox) = (kubelet.cri.clone(), sandbox.id.clone());
        let create = async move { cri.create_container(&sandbox, config, sandbox_config).await };
        let id = match kubelet.whole(self.starts.track_future(create)).await {
            Ok(id) => id,
            Err(error) => {
                kubelet.recorder.warning(about(), "Failed", format!("Error: {}", error.message));
                let waiting = Waiting { reason: "CreateContainerError".into(), message: error.message };
                return Err((waiting, self.pause()));
            }
        };
        self.memory.actuated.insert(id.clone(), container.resources.clone().unwrap_or_default());
        kubelet.recorder.normal(about(), "Created", "Container created");
        let (cri, created) = (kubelet.cri.clone(), id.clone());
        let start = async move { cri.start_container(&created).await };
        if let Err(error) = kubelet.whole(self.starts.track_future(start)).await {
            kubelet.recorder.warning(about(), "Failed", format!("Error: {}", error.message));
            let waiting = Waiting { reason: "RunContainerError".into(), message: error.message };
            return Err((waiting, self.pause()));
        }
        kubelet.recorder.normal(about(), "Started", "Container started");
        self.post_start(pod, container, &id, &pod_ips).await
    }

    async fn post_start(
        &mut self,
        pod: &Arc<Pod>,
        container: &Container,
        id: &str,
        pod_ips: &[String],
    ) -> Result<(), (Waiting, Timestamp)> {
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        let Some(hook) = hook else { return Ok(()) };
        let ip = pod_ips.first().map_or("", String::as_str);
        let Err(error) = hooks::run(&self.kubelet, container, id, hook, ip, hooks::NO_LIMIT).await else {
            return Ok(());
        };
        tracing::info!(pod = pod::display(pod), container = container.name, error, "the postStart hook failed");
        let about = pod::container_reference(pod, &container.name);
        self.kubelet.recorder.warning(about, "FailedPostStartHook", "PostStartHook failed");
        let grace = super::kill::grace_for(pod, &container.name, crate::state::KillReason::Other);
        // If even the kill fails the next look finds the container running and keeps it, as Kubernetes does.
        let _ = self.kill(pod, id, &container.name, "FailedPostStartHook", grace).await;
        let waiting = Waiting { reason: "PostStartHookError".into(), message: "PostStartHook failed".into() };
        Err((waiting, Timestamp::now()))
    }

    async fn variables(&self, pod: &Pod, container: &Container, ips: &[String]) -> Result<Variables, PodError> {
        let references = self.references(pod, container).await?;
        self.kubelet.services.listed().await;
        let links = pod::spec(pod).enable_service_links.unwrap_or(true);
        let services = self.kubelet.services.variables(pod::namespace(pod), links);
        environment(pod, container, services, &references, &self.kubelet.field_context(ips))
            .map_err(PodError::ContainerConfig)
    }

    /// Fetches what the environment refers to.
    async fn references(&self, pod: &Pod, container: &Container) -> Result<References, PodError> {
        let mut references = References::default();
        let namespace = pod::namespace(pod);
        let sources = container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref());
        let mut maps: Vec<&str> = Vec::new();
        let mut secrets: Vec<&str> = Vec::new();
        for source in sources {
            maps.extend(source.config_map_key_ref.as_ref().map(|reference| reference.name.as_str()));
            secrets.extend(source.secret_key_ref.as_ref().map(|reference| reference.name.as_str()));
        }
        for from in container.env_from.iter().flatten() {
            maps.extend(from.config_map_ref.as_ref().map(|reference| reference.name.as_str()));
            secrets.extend(from.secret_ref.as_ref().map(|reference| reference.name.as_str()));
        }
        for name in maps {
            if let Some(data) = self.kubelet.objects.config_map(namespace, name, true).await? {
                references.config_maps.insert(name.to_owned(), (*data).clone());
            }
        }
        for name in secrets {
            if let Some(data) = self.kubelet.objects.secret(namespace, name, true).await? {
                references.secrets.insert(name.to_owned(), (*data).clone());
            }
        }
        Ok(references)
    }
}

/// The id of the container whose processes an ephemeral container asks to see.
fn target<'a>(pod: &Pod, observed: &'a Observed, name: &str) -> Result<Option<&'a str>, PodError> {
    let ephemeral = pod::ephemeral_containers(pod).iter().find(|ephemeral| ephemeral.name == name);
    let target = ephemeral.and_then(|ephemeral| ephemeral.target_container_name.as_deref());
    let Some(target) = target.filter(|target| !target.is_empty()) else { return Ok(None) };
    let record = observed.newest(target);
    let absent = || PodError::ContainerConfig(format!("unable to find target container {target}"));
    record.map(|record| Some(record.id.as_str())).ok_or_else(absent)
}
