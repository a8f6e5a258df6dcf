use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use orlop_store::disk::{Directory, Disk, DiskFile, SyncPoint};
use orlop_store::{Embedded, Options};
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// A disk that is full once it is told so.
struct Filling {
    inner: Directory,
    full: Arc<AtomicBool>,
}

struct File {
    inner: Box<dyn DiskFile>,
    full: Arc<AtomicBool>,
}

impl Filling {
    fn file(&self, inner: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(File { inner, full: self.full.clone() })
    }
}

impl Disk for Filling {
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }
    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        self.inner.read(name)
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.file(self.inner.create(name)?))
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.file(self.inner.open(name)?))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }
    fn sync_dir(&self, point: SyncPoint) -> io::Result<()> {
        self.inner.sync_dir(point)
    }
}

impl DiskFile for File {
    fn append(&mut self, data: &[u8]) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.inner.append(data)
    }
    fn extend(&mut self, zeros: std::ops::Range<u64>) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) { Ok(()) } else { self.inner.extend(zeros) }
    }
    fn overwrite(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.overwrite(offset, data)
    }
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.inner.truncate(len)
    }
    fn sync(&mut self, point: SyncPoint) -> io::Result<()> {
        self.inner.sync(point)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_disk_is_full_is_not_healthy_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let disk = Filling { inner: Directory::open(directory.path().join("filling")).unwrap(), full: full.clone() };
    let store = Embedded::open_on(Arc::new(disk), Options::default()).unwrap();
    let cluster = Cluster::start_with(directory, |config| config.store = Arc::new(store)).await;
    let map = |name: &str| json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}});
    let maps = "/api/v1/namespaces/default/configmaps";
    assert_eq!(cluster.json("POST", maps, map("before")).await.0, 201);
    assert_eq!(cluster.json("GET", "/readyz/etcd", Value::Null).await.0, 200);
    full.store(true, Ordering::SeqCst);
    assert_eq!(cluster.json("POST", maps, map("lost")).await.0, 500);
    let ended = tokio::time::timeout(Duration::from_secs(10), cluster.server.ended()).await.unwrap();
    let why = ended.unwrap_err().to_string();
    assert!(why.contains("free or repair the disk") && why.contains("start the server again"), "{why}");
    assert_eq!(cluster.json("GET", "/readyz/etcd", Value::Null).await.0, 500);
    assert_eq!(cluster.json("GET", &format!("{maps}/before"), Value::Null).await.0, 200, "the caches are kept");
}
