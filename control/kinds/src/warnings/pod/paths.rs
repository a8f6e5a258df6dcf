//! Files of one volume that would lie on or in one another.
use crate::value::{go_quote, items, text};
use crate::warnings::Found;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};

/// A file and, in projected volumes, where it comes from.
struct File {
    path: String,
    source: String,
}

impl std::fmt::Display for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&go_quote(&self.path))?;
        if self.source.is_empty() { Ok(()) } else { write!(f, " ({})", self.source) }
    }
}

pub(super) fn of_volumes(volumes: &Value, found: &mut Found) {
    for volume in items(volumes) {
        let name = go_quote(text(&volume["name"]));
        let named = |kind: &str, value: &Value| format!("{kind} {}", go_quote(text(value)));
        for (kind, description) in [
            ("configMap", named("ConfigMap", &volume["configMap"]["name"])),
            ("secret", named("Secret", &volume["secret"]["secretName"])),
            ("downwardAPI", "DownwardAPI".to_owned()),
        ] {
            let files = items(&volume[kind]["items"]).iter().map(|item| file(&item["path"], ""));
            overlapping(&name, &description, files, &mut Files::default(), found);
        }
        let mut all = Files::default();
        for source in items(&volume["projected"]["sources"]) {
            if source.as_object().is_none_or(|source| source.values().all(Value::is_null)) {
                found.push(format!("volume {name} (Projected) has no sources provided"));
                continue;
            }
            overlapping(&name, "Projected", projected(source).into_iter(), &mut all, found);
        }
    }
}

fn file(path: &Value, source: &str) -> File {
    File { path: text(path).trim_end_matches('/').to_owned(), source: source.to_owned() }
}

/// The files of one source of a projected volume.
fn projected(source: &Value) -> Vec<File> {
    let listed = |list: &Value, from: &str| items(list).iter().map(|item| file(&item["path"], from)).collect();
    let named = |kind: &str, name: &Value| format!("{kind} {}", go_quote(text(name)));
    let (bundle, certificate) = (&source["clusterTrustBundle"], &source["podCertificate"]);
    if source["configMap"]["items"].is_array() {
        listed(&source["configMap"]["items"], &named("ConfigMap", &source["configMap"]["name"]))
    } else if source["secret"]["items"].is_array() {
        listed(&source["secret"]["items"], &named("Secret", &source["secret"]["name"]))
    } else if source["downwardAPI"]["items"].is_array() {
        listed(&source["downwardAPI"]["items"], "DownwardAPI")
    } else if source["serviceAccountToken"].is_object() {
        vec![file(&source["serviceAccountToken"]["path"], "ServiceAccountToken")]
    } else if bundle.is_object() {
        let name = if bundle["name"].is_null() { &bundle["signerName"] } else { &bundle["name"] };
        vec![file(&bundle["path"], &named("ClusterTrustBundle", name))]
    } else {
        let parts =
            [("certificateChainPath", "chain"), ("keyPath", "key"), ("credentialBundlePath", "credential bundle")];
        let files = parts.iter().map(|(key, part)| file(&certificate[*key], &format!("PodCertificate {part}")));
        files.filter(|file| !file.path.is_empty()).collect()
    }
}

/// The files of a volume so far, and where each lies: its path with a slash behind it.
#[derive(Default)]
struct Files {
    all: Vec<File>,
    by_place: BTreeMap<String, Vec<usize>>,
}

impl Files {
    /// Which of them lie at `place`, below it or above it, in the order in which they came.
    fn colliding(&self, place: &str) -> Vec<usize> {
        let behind = self.by_place.range::<str, _>((Included(place), Unbounded));
        let below = behind.take_while(|(other, _)| other.starts_with(place));
        let mut found: Vec<usize> = below.flat_map(|(_, files)| files.iter().copied()).collect();
        // A directory sorts before what lies in it, and between them is nothing else.
        let before = |bound| self.by_place.range::<str, _>((Unbounded, bound)).next_back();
        let mut next = before(Excluded(place));
        while let Some((other, files)) = next {
            next = if place.starts_with(other.as_str()) {
                found.extend(files);
                before(Excluded(other.as_str()))
            } else {
                let shared = place.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
                let slash = place.as_bytes()[..shared].iter().rposition(|byte| *byte == b'/');
                slash.and_then(|slash| place.get(..=slash)).and_then(|directory| before(Included(directory)))
            };
        }
        found.sort_unstable();
        found
    }

    fn add(&mut self, place: String, file: File) {
        self.by_place.entry(place).or_default().push(self.all.len());
        self.all.push(file);
    }
}

fn overlapping(volume: &str, description: &str, files: impl Iterator<Item = File>, all: &mut Files, found: &mut Found) {
    for file in files.filter(|file| !file.path.is_empty()) {
        if found.is_full() {
            return;
        }
        let place = format!("{}/", file.path);
        for other in all.colliding(&place).into_iter().filter_map(|index| all.all.get(index)) {
            if found.is_full() {
                return;
            }
            found.push(format!("volume {volume} ({description}): overlapping paths: {file} with {other}"));
        }
        all.add(place, file);
    }
}
