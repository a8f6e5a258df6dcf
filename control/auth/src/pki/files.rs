//! The pki directory of a cluster: made once, read ever after.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{CertificateAuthority, Issued, Subject, Usage};

/// Why keys could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The certificate library refused.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The operating system's words.
        source: std::io::Error,
    },
    /// A certificate can carry one organisation (group) only.
    #[error("a certificate with the groups {0:?}: only one is supported")]
    ManyOrganizations(Vec<String>),
    /// A key or a certificate is of a kind that cannot be used here.
    #[error("{0}")]
    Unsupported(String),
}

/// A cluster's keys in one directory (`ca.crt`, `ca.key`, `apiserver.*`, `apiserver-kubelet-client.*`, `front-proxy-*`, `sa.key`, `sa.pub`).
pub struct ClusterPki {
    directory: PathBuf,
    ca: CertificateAuthority,
}

impl ClusterPki {
    /// Opens the directory; makes the CA and the service-account key if they are not there.
    pub fn open(directory: &Path) -> Result<Self, PkiError> {
        fs::create_dir_all(directory).map_err(|source| file_error(directory, source))?;
        let (crt, key) = (directory.join("ca.crt"), directory.join("ca.key"));
        let ca = if crt.exists() && key.exists() {
            CertificateAuthority::from_pem(read(&crt)?, read(&key)?)?
        } else {
            let ca = CertificateAuthority::generate("kubernetes")?;
            write_private(&key, ca.key())?;
            write_public(&crt, ca.certificate())?;
            ca
        };
        let (sa_key, sa_pub) = (directory.join("sa.key"), directory.join("sa.pub"));
        if !sa_key.exists() || !sa_pub.exists() {
            let pair = rcgen::KeyPair::generate()?;
            write_private(&sa_key, &pair.serialize_pem())?;
            write_public(&sa_pub, &pair.public_key_pem())?;
        }
        Ok(Self { directory: directory.to_owned(), ca })
    }

    /// The CA.
    pub fn ca(&self) -> &CertificateAuthority {
        &self.ca
    }

    /// Where the files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The private key that service-account tokens are signed with, PEM (ECDSA P-256).
    pub fn service_account_key(&self) -> Result<String, PkiError> {
        read(&self.directory.join("sa.key"))
    }

    /// The public half of [`Self::service_account_key`].
    pub fn service_account_public_key(&self) -> Result<String, PkiError> {
        read(&self.directory.join("sa.pub"))
    }

    /// The API server's serving certificate `apiserver.crt/key`, signed anew at each start so that its names are today's.
    pub fn apiserver(&self, names: &[&str], addresses: &[IpAddr]) -> Result<Issued, PkiError> {
        let usual = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
        ];
        let names = usual.iter().chain(names).map(|&name| name.to_owned()).collect();
        let issued = self
            .ca
            .issue(&Subject::new("kube-apiserver", &[]), &Usage::Server { names, addresses: addresses.to_vec() })?;
        self.write("apiserver", &issued)?;
        Ok(issued)
    }

    /// The client certificate with which the API server calls kubelets, as kubeadm names it.
    pub fn kubelet_client(&self) -> Result<Issued, PkiError> {
        let issued =
            self.ca.issue(&Subject::new("kube-apiserver-kubelet-client", &["system:masters"]), &Usage::Client)?;
        self.write("apiserver-kubelet-client", &issued)?;
        Ok(issued)
    }

    /// The CA of the front proxy, which is none of the cluster's: who has its certificate may speak for anybody to aggregated
    /// servers. Made once (`front-proxy-ca.crt/key`).
    pub fn front_proxy_ca(&self) -> Result<CertificateAuthority, PkiError> {
        let (crt, key) = (self.directory.join("front-proxy-ca.crt"), self.directory.join("front-proxy-ca.key"));
        if crt.exists() && key.exists() {
            return CertificateAuthority::from_pem(read(&crt)?, read(&key)?);
        }
        let ca = CertificateAuthority::generate("front-proxy-ca")?;
        write_private(&key, ca.key())?;
        write_public(&crt, ca.certificate())?;
        Ok(ca)
    }

    /// The client certificate with which the API server calls aggregated servers, as kubeadm names it.
    pub fn front_proxy_client(&self) -> Result<Issued, PkiError> {
        let issued = self.front_proxy_ca()?.issue(&Subject::new("front-proxy-client", &[]), &Usage::Client)?;
        self.write("front-proxy-client", &issued)?;
        Ok(issued)
    }

    fn write(&self, name: &str, issued: &Issued) -> Result<(), PkiError> {
        write_private(&self.directory.join(format!("{name}.key")), &issued.key)?;
        write_public(&self.directory.join(format!("{name}.crt")), &issued.certificate)
    }
}

fn read(path: &Path) -> Result<String, PkiError> {
    fs::read_to_string(path).map_err(|source| file_error(path, source))
}

/// Writes a file that only its owner can read: whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), PkiError> {
    write_mode(path, text, 0o600)
}

fn write_public(path: &Path, text: &str) -> Result<(), PkiError> {
    write_mode(path, text, 0o644)
}

fn write_mode(path: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    let temporary = path.with_extension("new");
    let write = || {
        let _ = fs::remove_file(&temporary);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source| file_error(path, source))
}

fn file_error(path: &Path, source: std::io::Error) -> PkiError {
    PkiError::File { path: path.to_owned(), source }
}
