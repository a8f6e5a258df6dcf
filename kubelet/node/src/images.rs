//! Having a container's image on the node, by its `imagePullPolicy`, with Kubernetes' reasons when it is not.

mod credentials;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use orlop_cri::CriClient;
use orlop_cri::v1::{Image, PodSandboxConfig};

pub use credentials::credentials;

use crate::events::Recorder;
use crate::objects::Objects;
use crate::pod;
use crate::state::{Memory, Waiting};

/// An image that is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// The runtime's name for it.
    pub image_ref: String,
    /// Who it runs as.
    pub uid: Option<i64>,
    pub username: String,
}

fn present(image: Image) -> Present {
    Present {
        image_ref: image.id,
        uid: image.uid.map(|uid| uid.value).or_else(|| Some(0).filter(|_| image.username.is_empty())),
        username: image.username,
    }
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// The container's policy; what is not said follows from the tag, as the API server's default does.
pub fn pull_policy(container: &Container) -> PullPolicy {
    match container.image_pull_policy.as_deref() {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        Some("IfNotPresent") => PullPolicy::IfNotPresent,
        _ => {
            let image = container.image.as_deref().unwrap_or_default();
            let last = image.rsplit('/').next().unwrap_or_default();
            let latest = !last.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest");
            if latest { PullPolicy::Always } else { PullPolicy::IfNotPresent }
        }
    }
}

/// What images need to be found and fetched.
pub struct Puller<'a> {
    pub cri: &'a CriClient,
    pub recorder: &'a Recorder,
    pub objects: &'a Objects,
}

impl Puller<'_> {
    /// Makes sure that the container's image is there. On failure says why the container waits, and until when it is of no use
    /// to try again.
    pub async fn ensure(
        &self,
        pod: &Pod,
        container: &Container,
        sandbox: &PodSandboxConfig,
        memory: &mut Memory,
    ) -> Result<Present, (Waiting, Timestamp)> {
        let image = container.image.clone().unwrap_or_default();
        let about = || pod::container_reference(pod, &container.name);
        let failed = |reason: &str, message: String, seconds: i64| {
            let retry = Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
            (Waiting { reason: reason.to_owned(), message }, retry)
        };
        let found = self.cri.image_status(&image).await.map_err(|error| {
            let message = format!("Failed to inspect image {image:?}: {error}");
            self.recorder.warning(about(), "InspectFailed", message.clone());
            failed("ImageInspectError", message, 10)
        })?;
        let policy = pull_policy(container);
        match (found, policy) {
            (Some(image_found), PullPolicy::IfNotPresent | PullPolicy::Never) => {
                let message = match policy {
                    PullPolicy::Never => format!("Container image {image:?} already present on machine"),
                    _ => format!("Container image {image:?} already present on machine and can be accessed by the pod"),
                };
                self.recorder.normal(about(), "Pulled", message);
                return Ok(present(image_found));
            }
            (None, PullPolicy::Never) => {
                let message = format!("Container image {image:?} is not present with pull policy of Never");
                self.recorder.warning(about(), "ErrImageNeverPull", message.clone());
                return Err(failed("ErrImageNeverPull", message, 10));
            }
            _ => {}
        }
        if let Some((since, error)) = memory.failed_pulls.get(&image)
            && let Some((until, _)) = memory.pulls.waiting_until(&image, *since, Timestamp::now())
        {
            let message = format!("Back-off pulling image {image:?}");
            self.recorder.normal(about(), "BackOff", message.clone());
            let message = format!("{message}: {error}");
            return Err((Waiting { reason: "ImagePullBackOff".into(), message }, until));
        }
        self.pull(pod, container, &image, sandbox, memory).await
    }

    async fn pull(
        &self,
        pod: &Pod,
        container: &Container,
        image: &str,
        sandbox: &PodSandboxConfig,
        memory: &mut Memory,
    ) -> Result<Present, (Waiting, Timestamp)> {
        let about = || pod::container_reference(pod, &container.name);
        self.recorder.normal(about(), "Pulling", format!("Pulling image {image:?}"));
        let started = std::time::Instant::now();
        let pulled = async {
            let auth = credentials(self.objects, pod, image).await;
            self.cri.pull_image(image, auth, Some(sandbox.clone())).await?;
            self.cri.image_status(image).await
        };
        let error = match pulled.await {
            Ok(Some(found)) => {
                let took = format!("{}ms", started.elapsed().as_millis());
                let message = format!(
                    "Successfully pulled image {image:?} in {took} ({took} including waiting). Image size: {} bytes.",
                    found.size
                );
                self.recorder.normal(about(), "Pulled", message);
                memory.failed_pulls.remove(image);
                memory.pulls.reset(image);
                return Ok(present(found));
            }
            Ok(None) => format!("image {image:?} is absent after it was pulled"),
            Err(error) => error.message,
        };
        let now = Timestamp::now();
        memory.pulls.next(image, now, now);
        memory.failed_pulls.insert(image.to_owned(), (now, format!("ErrImagePull: {error}")));
        self.recorder.warning(about(), "Failed", format!("Failed to pull image {image:?}: {error}"));
        self.recorder.warning(about(), "Failed", "Error: ErrImagePull");
        // Look again soon: then the reason becomes ImagePullBackOff.
        Err((Waiting { reason: "ErrImagePull".into(), message: error }, now + jiff::SignedDuration::from_secs(2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pull_policy_follows_from_the_tag_unless_it_is_said() {
        let policy = |image: &str, said: Option<&str>| {
            let container = Container {
                image: Some(image.into()),
                image_pull_policy: said.map(str::to_owned),
                ..Container::default()
            };
            pull_policy(&container)
        };
        for (image, said, expected) in [
            ("web", None, PullPolicy::Always),
            ("web:latest", None, PullPolicy::Always),
            ("localhost:5000/web:v1", None, PullPolicy::IfNotPresent),
            ("localhost:5000/web", None, PullPolicy::Always),
            ("web@sha256:abc", None, PullPolicy::IfNotPresent),
            ("web:latest", Some("Never"), PullPolicy::Never),
        ] {
            assert_eq!(policy(image, said), expected, "{image}");
        }
    }
}
