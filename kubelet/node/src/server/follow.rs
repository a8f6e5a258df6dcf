//! `/containerLogs`: finds the container's log file and sends it, and what is added to it while the container runs.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::{Response, StatusCode};
use k8s_openapi::api::core::v1::Pod;
use orlop_cri::CriClient;
use orlop_cri::v1::{ContainerFilter, ContainerState};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};
use tokio::sync::mpsc;

use super::logs::{LogOptions, tail_start};
use super::routes::{Body, plain};
use crate::kubelet::Kubelet;
use crate::pod;
use crate::spec::labels;

/// How long the end of a followed log is left alone.
const POLL: Duration = Duration::from_millis(100);

/// Answers with the log of one container.
pub async fn answer(kubelet: &Kubelet, pod: &Arc<Pod>, container: &str, options: LogOptions) -> Response<Body> {
    if !pod::has_container(pod, container) {
        let words = format!("container {container} is not valid for pod {}", pod::name(pod));
        return plain(StatusCode::BAD_REQUEST, words);
    }
    let (id, path) = match locate(kubelet, pod, container, options.previous).await {
        Ok(found) => found,
        Err(words) => return plain(StatusCode::BAD_REQUEST, words),
    };
    let (sender, receiver) = mpsc::channel::<Bytes>(16);
    let reader = Reader { cri: kubelet.cri.clone(), id, path, options, sender };
    tokio::spawn(async move {
        // An error of the file ends the stream: the head of the answer is long gone.
        if let Err(error) = reader.run().await {
            tracing::debug!(%error, "a log ended early");
        }
    });
    let frames = futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|bytes| (Ok(Frame::data(bytes)), receiver))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    let text = http::HeaderValue::from_static("text/plain");
    response.headers_mut().insert(http::header::CONTENT_TYPE, text);
    response
}

/// The id and log file of the container's current run, or of the one before.
async fn locate(
    kubelet: &Kubelet,
    pod: &Arc<Pod>,
    container: &str,
    previous: bool,
) -> Result<(String, PathBuf), String> {
    let selector = HashMap::from([
        (labels::POD_UID.to_owned(), pod::uid(pod).to_owned()),
        (labels::CONTAINER_NAME.to_owned(), container.to_owned()),
    ]);
    let filter = ContainerFilter { label_selector: selector, ..ContainerFilter::default() };
    let mut runs = kubelet.cri.list_containers(Some(filter)).await.map_err(|error| error.to_string())?;
    runs.sort_by_key(|run| std::cmp::Reverse(run.created_at));
    let name = pod::name(pod);
    let waiting_for_restart = runs.first().is_some_and(|run| run.state() == ContainerState::ContainerExited);
    let run = if previous {
        // A container that waits for its next run has its last one as the previous.
        let crashing = pod::status(pod).container_statuses.iter().flatten().any(|status| {
            status.name == container && status.state.as_ref().is_some_and(|state| state.waiting.is_some())
        });
        runs.into_iter().nth(usize::from(!(waiting_for_restart && crashing)))
    } else {
        runs.into_iter().next()
    };
    let Some(run) = run else {
        return Err(if previous {
            format!("previous terminated container \"{container}\" in pod \"{name}\" not found")
        } else {
            format!("container \"{container}\" in pod \"{name}\" is waiting to start: {}", awaits(pod, container))
        });
    };
    let status = kubelet.cri.container_status(&run.id).await.map_err(|error| error.to_string())?;
    Ok((run.id, PathBuf::from(status.log_path)))
}

/// What a container waits for that has never run.
fn awaits<'a>(pod: &'a Pod, container: &str) -> &'a str {
    let status = pod::status(pod);
    let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    let mut waiting = lists.into_iter().flatten().flatten().filter(|status| status.name == container);
    let reason = waiting.find_map(|status| status.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
    match reason {
        Some("ErrImagePull") => "image can't be pulled",
        Some("ImagePullBackOff") => "trying and failing to pull image",
        Some(reason) => reason,
        None => "ContainerCreating",
    }
}

struct Reader {
    cri: CriClient,
    id: String,
    path: PathBuf,
    options: LogOptions,
    sender: mpsc::Sender<Bytes>,
}

impl Reader {
    async fn run(self) -> std::io::Result<()> {
        let mut file = tokio::fs::File::open(&self.path).await?;
        if let Some(lines) = self.options.tail_lines {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).await?;
            let start = tail_start(&bytes, lines);
            file.seek(std::io::SeekFrom::Start(u64::try_from(start).unwrap_or(0))).await?;
        }
        let mut inode = file.metadata().await?.ino();
        let mut reader = BufReader::new(file);
        let mut left = self.options.limit_bytes;
        let mut line = Vec::new();
        let mut ended = false;
        let mut rotated = false;
        loop {
            let read = reader.read_until(b'\n', &mut line).await?;
            if line.last() == Some(&b'\n') || (read == 0 && ended && !line.is_empty()) {
                let Some(mut text) = self.options.render(&line) else {
                    line.clear();
                    continue;
                };
                line.clear();
                if let Some(left) = &mut left {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(text.len());
                    text.truncate(take);
                    *left -= u64::try_from(take).unwrap_or(0);
                }
                if self.sender.send(text.into()).await.is_err() || left == Some(0) {
                    return Ok(());
                }
                continue;
            }
            if read > 0 {
                continue;
            }
            if ended || self.sender.is_closed() {
                return Ok(());
            }
            if !self.options.follow {
                ended = true;
                continue;
            }
            if let Ok(metadata) = tokio::fs::metadata(&self.path).await
                && metadata.ino() != inode
            {
                // Rotated. The runtime may still have been writing to the old file when the new one appeared: read on once more.
                if !rotated {
                    rotated = true;
                    tokio::time::sleep(POLL).await;
                    continue;
                }
                rotated = false;
                inode = metadata.ino();
                reader = BufReader::new(tokio::fs::File::open(&self.path).await?);
                continue;
            }
            // Ask before the last read: what a container wrote before its end is read after it.
            ended = !self.is_running().await;
            if !ended {
                tokio::time::sleep(POLL).await;
            }
        }
    }

    async fn is_running(&self) -> bool {
        self.cri.container_status(&self.id).await.is_ok_and(|status| status.state() == ContainerState::ContainerRunning)
    }
}
