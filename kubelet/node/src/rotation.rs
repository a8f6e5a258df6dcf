//! Keeps the logs of running containers small: a log that has grown too large gets another name, the runtime opens a new one, and
//! of the old ones a few are kept, all but the newest compressed. Names and order are those of Kubernetes' log manager.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use orlop_cri::CriError;
use orlop_cri::v1::{Container, ContainerFilter, ContainerState, ContainerStateValue};

use crate::config::Config;
use crate::kubelet::Kubelet;
use crate::spec::{labels, log_path};

/// What a compressed log ends with, and one that is being compressed.
const COMPRESSED: &str = ".gz";
const UNFINISHED: &str = ".tmp";

/// Looks at all logs again and again, for ever.
pub async fn keep_small(kubelet: Arc<Kubelet>) {
    loop {
        tokio::time::sleep(kubelet.config.container_log_monitor_interval).await;
        if let Err(error) = look(&kubelet).await {
            tracing::warn!(%error, "listing containers to rotate their logs");
        }
    }
}

async fn look(kubelet: &Kubelet) -> Result<(), CriError> {
    let running = ContainerStateValue { state: ContainerState::ContainerRunning.into() };
    let filter = ContainerFilter { state: Some(running), ..ContainerFilter::default() };
    for container in kubelet.cri.list_containers(Some(filter)).await? {
        let Some(path) = path_of(&kubelet.config, &container) else { continue };
        let size = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        if size < kubelet.config.container_log_max_size {
            continue;
        }
        if let Err(error) = rotate(kubelet, &container.id, &path).await {
            tracing::warn!(%error, path = %path.display(), "a log was not rotated");
        }
    }
    Ok(())
}

fn path_of(config: &Config, container: &Container) -> Option<PathBuf> {
    let label = |key: &str| container.labels.get(key);
    let restart_count = container.annotations.get(labels::RESTART_COUNT)?.parse().ok()?;
    let dir = config.pod_log_dir(label(labels::POD_NAMESPACE)?, label(labels::POD_NAME)?, label(labels::POD_UID)?);
    Some(dir.join(log_path(label(labels::CONTAINER_NAME)?, restart_count)))
}

async fn rotate(kubelet: &Kubelet, id: &str, path: &Path) -> io::Result<()> {
    let (log, max_files) = (path.to_path_buf(), kubelet.config.container_log_max_files);
    tokio::task::spawn_blocking(move || tidy(&log, max_files)).await.map_err(io::Error::other)??;
    let rotated = with_suffix(path, &Timestamp::now().strftime(".%Y%m%d-%H%M%S").to_string());
    std::fs::rename(path, &rotated)?;
    let Err(error) = kubelet.cri.reopen_container_log(id).await else { return Ok(()) };
    // The runtime goes on writing to the file that it has open: give it its name back.
    std::fs::rename(&rotated, path)?;
    Err(io::Error::other(error))
}

/// Makes room for one more rotated log.
fn tidy(log: &Path, max_files: usize) -> io::Result<()> {
    let Some((dir, name)) = log.parent().zip(log.file_name()) else { return Ok(()) };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut rotated = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(&prefix) {
            rotated.push(name);
        }
    }
    let chores = chores(rotated, max_files);
    for name in chores.remove {
        std::fs::remove_file(dir.join(name))?;
    }
    for name in chores.compress {
        compress(&dir.join(name))?;
    }
    Ok(())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Chores {
    remove: Vec<String>,
    compress: Vec<String>,
}

/// What to do with the rotated logs of one container before the next is added; the log itself and the next count as files too.
fn chores(mut names: Vec<String>, max_files: usize) -> Chores {
    names.sort();
    let (unfinished, mut names): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|name| name.ends_with(UNFINISHED));
    let mut chores = Chores { remove: unfinished, compress: Vec::new() };
    let compressed: Vec<String> =
        names.iter().filter_map(|name| name.strip_suffix(COMPRESSED)).map(str::to_owned).collect();
    // Compressed already, but the kubelet ended before it removed the original.
    chores.remove.extend(names.extract_if(.., |name| compressed.contains(name)));
    let excess = names.len().saturating_sub(max_files.saturating_sub(2));
    chores.remove.extend(names.drain(..excess));
    chores.compress = names.into_iter().filter(|name| !name.ends_with(COMPRESSED)).collect();
    chores
}

fn compress(path: &Path) -> io::Result<()> {
    let unfinished = with_suffix(path, UNFINISHED);
    let mut encoder = GzEncoder::new(File::create(&unfinished)?, Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    std::fs::rename(&unfinished, with_suffix(path, COMPRESSED))?;
    std::fs::remove_file(path)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_oldest_go_and_the_others_are_compressed() {
        let before = names(&["0.log.3", "0.log.1.gz", "0.log.2.gz", "0.log.0.gz"]);
        let expected = Chores { remove: names(&["0.log.0.gz"]), compress: names(&["0.log.3"]) };
        assert_eq!(chores(before, 5), expected);
        assert_eq!(chores(names(&["0.log.1"]), 2), Chores { remove: names(&["0.log.1"]), compress: Vec::new() });
    }

    #[test]
    fn what_an_interrupted_rotation_left_is_removed() {
        let before = names(&["0.log.1", "0.log.1.gz", "0.log.2", "0.log.2.tmp"]);
        let expected = Chores { remove: names(&["0.log.2.tmp", "0.log.1"]), compress: names(&["0.log.2"]) };
        assert_eq!(chores(before, 5), expected);
    }
}
