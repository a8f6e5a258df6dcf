//! Projected volumes: files from several sources in one folder.
use super::{validate_downward_file, validate_file_path, validate_key, validate_mode};
use crate::certificates::validate_signer_name;
use crate::field::{Errors, Path};
use crate::labels::validate_selector;
use crate::names;
use crate::value::{entries, int, items, text};
use serde_json::Value;
use std::collections::BTreeSet;

const CONFLICT: &str = "conflicting duplicate paths";

pub(super) fn validate(projected: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut volume = Projected { path, files: BTreeSet::new() };
    let sources = path.child("sources");
    for (index, source) in items(&projected["sources"]).iter().enumerate() {
        let path = sources.index(index);
        let mut present = 0;
        for kind in
            ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"]
        {
            if !source[kind].is_null() {
                present += 1;
                volume.source(kind, &source[kind], &path.child(kind), errors);
            }
        }
        if present > 1 {
            errors.forbidden(&path, "may not specify more than 1 volume type per source");
        }
    }
    validate_mode(&projected["defaultMode"], &path.child("defaultMode"), errors);
}

struct Projected<'a> {
    path: &'a Path<'a>,
    files: BTreeSet<String>,
}

impl Projected<'_> {
    /// Takes a place in the volume; `shown` is what a conflict names.
    fn take(&mut self, file: &str, shown: &str, errors: &mut Errors) {
        if !self.files.insert(file.to_owned()) {
            errors.invalid(self.path, shown, CONFLICT);
        }
    }

    fn source(&mut self, kind: &str, source: &Value, path: &Path<'_>, errors: &mut Errors) {
        match kind {
            "secret" | "configMap" => {
                let name = text(&source["name"]);
                if name.is_empty() {
                    errors.required(&path.child("name"), "");
                }
                for (index, item) in items(&source["items"]).iter().enumerate() {
                    validate_key(item, &path.child("items").index(index), errors);
                    let file = text(&item["path"]);
                    if !file.is_empty() {
                        self.take(file, name, errors);
                    }
                }
            }
            "downwardAPI" => {
                for item in items(&source["items"]) {
                    validate_downward_file(item, path, errors);
                    let file = text(&item["path"]);
                    if !file.is_empty() {
                        self.take(file, file, errors);
                    }
                }
            }
            "serviceAccountToken" => self.token(source, path, errors),
            "clusterTrustBundle" => {
                bundle(source, path, errors);
                let file = text(&source["path"]);
                if file.is_empty() {
                    errors.required(&path.child("path"), "");
                }
                validate_file_path(file, &path.child("path"), errors);
                self.take(file, file, errors);
            }
            _ => self.certificate(source, path, errors),
        }
    }

    fn token(&self, token: &Value, path: &Path<'_>, errors: &mut Errors) {
        let (seconds, path_seconds) = (int(&token["expirationSeconds"]), path.child("expirationSeconds"));
        if seconds < 600 {
            errors.invalid(&path_seconds, seconds, "may not specify a duration less than 10 minutes");
        }
        if seconds > 1 << 32 {
            errors.invalid(&path_seconds, seconds, "may not specify a duration larger than 2^32 seconds");
        }
        // Kubernetes names the volume's path here, not the source's.
        let (file, path) = (text(&token["path"]), self.path.child("path"));
        if file.is_empty() {
            errors.required(&path, "");
        } else {
            validate_file_path(file, &path, errors);
        }
    }

    fn certificate(&mut self, certificate: &Value, path: &Path<'_>, errors: &mut Errors) {
        const TYPES: [&str; 6] = ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
        let (signer, key) = (text(&certificate["signerName"]), text(&certificate["keyType"]));
        validate_signer_name(signer, &path.child("signerName"), errors);
        for (key, _) in entries(&certificate["userAnnotations"]) {
            let path = path.child("userAnnotations");
            errors.invalid_each(&path, key, names::qualified_name(&key.to_lowercase()));
        }
        if !TYPES.contains(&key) {
            errors.not_supported(&path.child("keyType"), key, &TYPES);
        }
        if let Some(seconds) = certificate["maxExpirationSeconds"].as_i64() {
            let path = path.child("maxExpirationSeconds");
            let of_kubernetes = signer.split('/').next().is_some_and(|domain| domain.ends_with("kubernetes.io"));
            let longest = if of_kubernetes { 24 * 3600 } else { 91 * 24 * 3600 };
            if seconds < 3600 {
                errors.invalid(&path, seconds, "if provided, maxExpirationSeconds must be >= 3600");
            }
            if seconds > longest {
                errors.invalid(&path, seconds, format!("if provided, maxExpirationSeconds must be <= {longest}"));
            }
        }
        let mut files = 0;
        for member in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
            let file = text(&certificate[member]);
            if !file.is_empty() {
                files += 1;
                validate_file_path(file, &path.child(member), errors);
                self.take(file, file, errors);
            }
        }
        if files == 0 {
            let detail = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
            errors.required(path, detail);
        }
    }
}

/// A bundle by its name, or all of a signer's that a selector chooses.
fn bundle(bundle: &Value, path: &Path<'_>, errors: &mut Errors) {
    match (bundle["name"].as_str(), bundle["signerName"].as_str()) {
        (Some(_), Some(_)) => errors.invalid(path, bundle.clone(), "only one of name and signerName may be used"),
        (Some(name), None) => {
            let path_name = path.child("name");
            if name.is_empty() {
                errors.required(&path_name, "must be a valid object name");
            }
            let own = name.rsplit_once(':').map_or(name, |(_, own)| own);
            for wrong in names::dns1123_subdomain(own) {
                errors.invalid(&path_name, name, format!("not a valid clustertrustbundlename: {wrong}"));
            }
            if !bundle["labelSelector"].is_null() {
                let detail = "labelSelector must be unset if name is specified";
                errors.invalid(&path.child("labelSelector"), bundle["labelSelector"].clone(), detail);
            }
        }
        (None, Some(signer)) => {
            if signer.is_empty() {
                errors.required(&path.child("signerName"), "must be a valid signer name");
            }
            validate_signer_name(signer, &path.child("signerName"), errors);
            validate_selector(&bundle["labelSelector"], &path.child("labelSelector"), errors);
        }
        (None, None) => errors.required(path, "either name or signerName must be specified"),
    }
}
