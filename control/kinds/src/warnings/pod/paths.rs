//! Files of one volume that would lie on or in one another.
use crate::value::{go_quote, items, text};
use serde_json::Value;

/// A file and, in projected volumes, where it comes from.
#[derive(Clone, PartialEq)]
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

pub(super) fn of_volumes(volumes: &Value, found: &mut Vec<String>) {
    for volume in items(volumes) {
        let name = go_quote(text(&volume["name"]));
        let named = |kind: &str, value: &Value| format!("{kind} {}", go_quote(text(value)));
        for (kind, description) in [
            ("configMap", named("ConfigMap", &volume["configMap"]["name"])),
            ("secret", named("Secret", &volume["secret"]["secretName"])),
            ("downwardAPI", "DownwardAPI".to_owned()),
        ] {
            let files = items(&volume[kind]["items"]).iter().map(|item| file(&item["path"], ""));
            overlapping(&name, &description, files, &mut Vec::new(), found);
        }
        let mut all = Vec::new();
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

fn overlapping(
    volume: &str,
    description: &str,
    files: impl Iterator<Item = File>,
    all: &mut Vec<File>,
    found: &mut Vec<String>,
) {
    for file in files {
        for other in all.iter().filter(|other| collide(&file, other)) {
            found.push(format!("volume {volume} ({description}): overlapping paths: {file} with {other}"));
        }
        all.push(file);
    }
}

fn collide(one: &File, other: &File) -> bool {
    let [a, b] = [one, other].map(|file| format!("{}/", file.path));
    !one.path.is_empty() && !other.path.is_empty() && (one == other || a.starts_with(&b) || b.starts_with(&a))
}
