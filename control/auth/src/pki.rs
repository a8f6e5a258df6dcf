//! The cluster's keys: one CA, serving and client certificates, the service-account key, and kubeconfig files.
//!
//! Laid out as kubeadm lays out `/etc/kubernetes/pki`. Whatever exists and still parses is kept; what is missing is made.
//! Private keys are written with mode 0600 and never logged.

mod ca;
mod files;
mod kubeconfig;
mod request;

pub use ca::{CertificateAuthority, Issued, Subject, Usage};
pub use files::{ClusterPki, PkiError};
pub use kubeconfig::kubeconfig;
pub use request::{CertificateRequest, RequestError, check_certificates};
