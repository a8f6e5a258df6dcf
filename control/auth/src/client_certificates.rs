//! Client certificates as kube-apiserver takes them: TLS asks for one and admits any whose key the client has; whether it is good is
//! judged when its connection begins, and whether it has expired with each request, so that a bad one is told so in the API's own
//! words, and one that expires while its connection lasts is good no longer.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{UserInfo, user_of_certificate};

const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// The certificates of one authority.
#[derive(Debug, Clone)]
pub struct ClientCertificates(Arc<dyn ClientCertVerifier>);

/// Why an authority cannot judge certificates.
#[derive(Debug, thiserror::Error)]
#[error("the certificate authority of clients cannot be used: {0}")]
pub struct AuthorityError(String);

/// Somebody whose certificate is good, for a time.
#[derive(Debug, Clone)]
pub struct Certified {
    user: Arc<UserInfo>,
    until: SystemTime,
}

impl Certified {
    /// The user, while the certificate is good.
    pub fn user(&self) -> Option<&Arc<UserInfo>> {
        (SystemTime::now() <= self.until).then_some(&self.user)
    }
}

impl ClientCertificates {
    /// Of the authority with this certificate (PEM).
    ///
    /// # Errors
    /// If there is no certificate in it.
    pub fn of(authority: &str) -> Result<Self, AuthorityError> {
        let failed = |why: &dyn std::fmt::Display| AuthorityError(why.to_string());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
            roots.add(certificate.map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).allow_unauthenticated();
        Ok(Self(verifier.build().map_err(|error| failed(&error))?))
    }

    /// For the listener's TLS.
    pub fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::new(Anybodys(self.0.clone()))
    }

    /// Whom a chain, as the client showed it, speaks for now; `None` if it is not good.
    pub fn certified(&self, chain: &[CertificateDer<'_>]) -> Option<Certified> {
        let (own, others) = chain.split_first()?;
        self.0.verify_client_cert(own, others, UnixTime::now()).ok()?;
        let (_, certificate) = X509Certificate::from_der(own).ok()?;
        let until = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
        let mut user = user_of_certificate(own)?;
        // By this an audit log and a certificate can be brought together (KEP-4193).
        let digest = ring::digest::digest(&ring::digest::SHA256, own);
        let id: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        user.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={id}")]);
        Some(Certified { user: Arc::new(user), until: UNIX_EPOCH.checked_add(Duration::from_secs(until))? })
    }
}

/// Admits any certificate whose key the client has.
#[derive(Debug)]
struct Anybodys(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Anybodys {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
