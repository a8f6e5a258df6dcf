//! A certificate authority that signs serving and client certificates with ECDSA P-256 keys.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

use super::PkiError;

const DAY: Duration = Duration::from_secs(86_400);
/// kubeadm's lifetimes: ten years for the CA, one for what it signs.
const CA_LIFETIME: Duration = Duration::from_secs(3650 * 86_400);
const LEAF_LIFETIME: Duration = Duration::from_secs(365 * 86_400);

/// Who a certificate is for: the common name is the user, each organisation a group.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// X.509 CN, the Kubernetes user name.
    pub common_name: String,
    /// X.509 O, the Kubernetes groups.
    pub organizations: Vec<String>,
}

impl Subject {
    /// A subject in the groups given.
    pub fn new(common_name: impl Into<String>, organizations: &[&str]) -> Self {
        Self {
            common_name: common_name.into(),
            organizations: organizations.iter().map(|&group| group.to_owned()).collect(),
        }
    }
}

/// What a certificate may be used for.
#[derive(Debug, Clone)]
pub enum Usage {
    /// To prove a client's identity.
    Client,
    /// To serve under these names and addresses.
    Server {
        /// DNS names.
        names: Vec<String>,
        /// IP addresses.
        addresses: Vec<IpAddr>,
    },
}

/// A certificate and its private key, PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The private key (PKCS#8).
    pub key: String,
}

/// A CA: its certificate and the key it signs with.
pub struct CertificateAuthority {
    certificate: String,
    key: String,
}

impl CertificateAuthority {
    /// Makes a self-signed CA.
    pub fn generate(common_name: &str) -> Result<Self, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyCertSign];
        lifetime(&mut params, CA_LIFETIME);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// A CA from its PEM files; refuses a pair that cannot sign.
    pub fn from_pem(certificate: String, key: String) -> Result<Self, PkiError> {
        Issuer::from_ca_cert_pem(&certificate, KeyPair::from_pem(&key)?)?;
        Ok(Self { certificate, key })
    }

    /// The CA's certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The CA's private key, PEM.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Signs a certificate for a key made on the spot.
    pub fn issue(&self, subject: &Subject, usage: &Usage) -> Result<Issued, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, subject.common_name.as_str());
        // rcgen holds one value for each attribute type; none of our identities needs a second O.
        if let [only] = subject.organizations.as_slice() {
            params.distinguished_name.push(DnType::OrganizationName, only.as_str());
        } else if subject.organizations.len() > 1 {
            return Err(PkiError::ManyOrganizations(subject.organizations.clone()));
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        match usage {
            Usage::Client => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Server { names, addresses } => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                for name in names {
                    params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
                }
                params.subject_alt_names.extend(addresses.iter().map(|&address| SanType::IpAddress(address)));
            }
        }
        params.use_authority_key_identifier_extension = true;
        lifetime(&mut params, LEAF_LIFETIME);
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, KeyPair::from_pem(&self.key)?)?;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// Valid from a day ago, so that clocks which differ a little still agree.
fn lifetime(params: &mut CertificateParams, lifetime: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + lifetime).into();
}
