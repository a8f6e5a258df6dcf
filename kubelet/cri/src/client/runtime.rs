//! The methods of `RuntimeService`.

use std::time::Duration;

use tonic::{Code, Status, Streaming};

use super::{CriClient, DEADLINE, named, required, within};
use crate::CriError;
use crate::v1::*;

impl CriClient {
    /// The runtime's name and version.
    pub async fn version(&self) -> Result<VersionResponse, CriError> {
        let request = within(DEADLINE, VersionRequest { version: "v1".into() });
        named("Version", "", self.runtime.clone().version(request).await)
    }

    /// The runtime's conditions (`RuntimeReady`, `NetworkReady`); `verbose` adds its configuration as JSON.
    pub async fn status(&self, verbose: bool) -> Result<StatusResponse, CriError> {
        named("Status", "", self.runtime.clone().status(within(DEADLINE, StatusRequest { verbose })).await)
    }

    /// Tells the runtime the Node's podCIDR, for runtimes that write their own CNI configuration from a template.
    pub async fn update_runtime_config(&self, pod_cidr: &str) -> Result<(), CriError> {
        let config = RuntimeConfig { network_config: Some(NetworkConfig { pod_cidr: pod_cidr.to_owned() }) };
        let request = within(DEADLINE, UpdateRuntimeConfigRequest { runtime_config: Some(config) });
        named("UpdateRuntimeConfig", pod_cidr, self.runtime.clone().update_runtime_config(request).await).map(drop)
    }

    /// Creates and starts a sandbox and returns its id. `runtime_handler` is empty for the default handler.
    pub async fn run_pod_sandbox(&self, config: PodSandboxConfig, runtime_handler: &str) -> Result<String, CriError> {
        let object = config.metadata.as_ref().map(|m| format!("{}/{}", m.namespace, m.name)).unwrap_or_default();
        // Twice the usual deadline, as the kubelet does: the runtime may have to pull the sandbox image.
        let request = within(
            DEADLINE * 2,
            RunPodSandboxRequest { config: Some(config), runtime_handler: runtime_handler.to_owned() },
        );
        named("RunPodSandbox", &object, self.runtime.clone().run_pod_sandbox(request).await).map(|r| r.pod_sandbox_id)
    }

    /// Stops a sandbox and whatever still runs in it, and gives its network back. Idempotent.
    pub async fn stop_pod_sandbox(&self, id: &str) -> Result<(), CriError> {
        let request = within(DEADLINE, StopPodSandboxRequest { pod_sandbox_id: id.to_owned() });
        absent_is_done(named("StopPodSandbox", id, self.runtime.clone().stop_pod_sandbox(request).await)).map(drop)
    }

    /// Removes a sandbox with its containers. Idempotent.
    pub async fn remove_pod_sandbox(&self, id: &str) -> Result<(), CriError> {
        let request = within(DEADLINE, RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() });
        absent_is_done(named("RemovePodSandbox", id, self.runtime.clone().remove_pod_sandbox(request).await)).map(drop)
    }

    /// One sandbox's status, with its addresses.
    pub async fn pod_sandbox_status(&self, id: &str) -> Result<PodSandboxStatus, CriError> {
        let request = within(DEADLINE, PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false });
        let reply = named("PodSandboxStatus", id, self.runtime.clone().pod_sandbox_status(request).await)?;
        required("PodSandboxStatus", id, reply.status)
    }

    /// The sandboxes that match `filter`; all of them without one.
    pub async fn list_pod_sandboxes(&self, filter: Option<PodSandboxFilter>) -> Result<Vec<PodSandbox>, CriError> {
        let request = within(DEADLINE, ListPodSandboxRequest { filter });
        named("ListPodSandbox", "", self.runtime.clone().list_pod_sandbox(request).await).map(|r| r.items)
    }

    /// Creates a container in a sandbox and returns its id. The image must be present.
    pub async fn create_container(
        &self,
        sandbox: &str,
        config: ContainerConfig,
        sandbox_config: PodSandboxConfig,
    ) -> Result<String, CriError> {
        let object = config.metadata.as_ref().map(|m| m.name.clone()).unwrap_or_default();
        let message = CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let reply = self.runtime.clone().create_container(within(DEADLINE, message)).await;
        named("CreateContainer", &object, reply).map(|r| r.container_id)
    }

    /// Starts a created container.
    pub async fn start_container(&self, id: &str) -> Result<(), CriError> {
        let request = within(DEADLINE, StartContainerRequest { container_id: id.to_owned() });
        named("StartContainer", id, self.runtime.clone().start_container(request).await).map(drop)
    }

    /// Sends the stop signal, and SIGKILL after `grace` (whole seconds). Returns when the container is dead. Idempotent.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), CriError> {
        let grace = grace.min(super::LONGEST);
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let message = StopContainerRequest { container_id: id.to_owned(), timeout };
        let reply = self.runtime.clone().stop_container(within(DEADLINE + grace, message)).await;
        absent_is_done(named("StopContainer", id, reply)).map(drop)
    }

    /// Removes a dead container. Idempotent.
    pub async fn remove_container(&self, id: &str) -> Result<(), CriError> {
        let request = within(DEADLINE, RemoveContainerRequest { container_id: id.to_owned() });
        absent_is_done(named("RemoveContainer", id, self.runtime.clone().remove_container(request).await)).map(drop)
    }

    /// The containers that match `filter`; all of them without one.
    pub async fn list_containers(&self, filter: Option<ContainerFilter>) -> Result<Vec<Container>, CriError> {
        let request = within(DEADLINE, ListContainersRequest { filter });
        named("ListContainers", "", self.runtime.clone().list_containers(request).await).map(|r| r.containers)
    }

    /// One container's status.
    pub async fn container_status(&self, id: &str) -> Result<ContainerStatus, CriError> {
        let request = within(DEADLINE, ContainerStatusRequest { container_id: id.to_owned(), verbose: false });
        let reply = named("ContainerStatus", id, self.runtime.clone().container_status(request).await)?;
        required("ContainerStatus", id, reply.status)
    }

    /// Changes the limits of a running container.
    pub async fn update_container_resources(
        &self,
        id: &str,
        resources: LinuxContainerResources,
    ) -> Result<(), CriError> {
        let message = UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux: Some(resources),
            ..UpdateContainerResourcesRequest::default()
        };
        let reply = self.runtime.clone().update_container_resources(within(DEADLINE, message)).await;
        named("UpdateContainerResources", id, reply).map(drop)
    }

    /// Makes the runtime open its log file anew, after the kubelet has renamed it.
    pub async fn reopen_container_log(&self, id: &str) -> Result<(), CriError> {
        let request = within(DEADLINE, ReopenContainerLogRequest { container_id: id.to_owned() });
        named("ReopenContainerLog", id, self.runtime.clone().reopen_container_log(request).await).map(drop)
    }

    /// Runs a command in a container and waits for it; the command is killed after `limit`.
    pub async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        limit: Duration,
    ) -> Result<ExecSyncResponse, CriError> {
        let timeout = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
        let message = ExecSyncRequest { container_id: id.to_owned(), cmd: command, timeout };
        let reply = self.runtime.clone().exec_sync(within(DEADLINE + limit, message)).await;
        named("ExecSync", id, reply)
    }

    /// Prepares an exec stream and returns the URL of the runtime's streaming server.
    pub async fn exec(&self, request: ExecRequest) -> Result<String, CriError> {
        let object = request.container_id.clone();
        named("Exec", &object, self.runtime.clone().exec(within(DEADLINE, request)).await).map(|r| r.url)
    }

    /// Prepares an attach stream and returns the URL of the runtime's streaming server.
    pub async fn attach(&self, request: AttachRequest) -> Result<String, CriError> {
        let object = request.container_id.clone();
        named("Attach", &object, self.runtime.clone().attach(within(DEADLINE, request)).await).map(|r| r.url)
    }

    /// Prepares a port-forward stream and returns the URL of the runtime's streaming server.
    pub async fn port_forward(&self, request: PortForwardRequest) -> Result<String, CriError> {
        let object = request.pod_sandbox_id.clone();
        named("PortForward", &object, self.runtime.clone().port_forward(within(DEADLINE, request)).await).map(|r| r.url)
    }

    /// Processor, memory and disk use of the containers that match `filter`.
    pub async fn list_container_stats(
        &self,
        filter: Option<ContainerStatsFilter>,
    ) -> Result<Vec<ContainerStats>, CriError> {
        let request = within(DEADLINE, ListContainerStatsRequest { filter });
        named("ListContainerStats", "", self.runtime.clone().list_container_stats(request).await).map(|r| r.stats)
    }

    /// The runtime's stream of container events. It has no deadline; older runtimes answer `Unimplemented`, some of them only
    /// when the stream is first read.
    pub async fn container_events(&self) -> Result<ContainerEvents, CriError> {
        let reply = self.runtime.clone().get_container_events(GetEventsRequest {}).await;
        named("GetContainerEvents", "", reply).map(ContainerEvents)
    }

    /// Which cgroup driver the runtime uses; `None` where it is too old to say.
    pub async fn cgroup_driver(&self) -> Result<Option<CgroupDriver>, CriError> {
        let request = within(DEADLINE, RuntimeConfigRequest {});
        match named("RuntimeConfig", "", self.runtime.clone().runtime_config(request).await) {
            Ok(reply) => Ok(reply.linux.map(|linux| linux.cgroup_driver())),
            Err(error) if error.is_unimplemented() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The events of a runtime's containers.
#[derive(Debug)]
pub struct ContainerEvents(Streaming<ContainerEventResponse>);

impl ContainerEvents {
    /// Waits for the next event. The end of the stream is an error: a runtime ends it only with itself.
    pub async fn next(&mut self) -> Result<ContainerEventResponse, CriError> {
        let ended = || Status::unavailable("the stream of events has ended");
        self.0
            .message()
            .await
            .and_then(|event| event.ok_or_else(ended))
            .map_err(|status| CriError::new("GetContainerEvents", "", &status))
    }
}

/// An object that is already gone counts as stopped and removed.
fn absent_is_done<T: Default>(result: Result<T, CriError>) -> Result<T, CriError> {
    match result {
        Err(error) if error.code == Code::NotFound => Ok(T::default()),
        other => other,
    }
}
