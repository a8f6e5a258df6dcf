//! Certificate signing requests (PKCS#10): what one asks for, and the certificate that a CA makes of it. The certificate is put
//! together here from the request's own bytes, because a subject may hold several groups, which must all arrive.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{KeyPair, SigningKey};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{CertificateAuthority, PkiError};

/// kube-controller-manager's: so far back a certificate is valid, for clocks that differ.
const BACKDATE: Duration = Duration::from_secs(300);

/// What a signed request asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateRequest {
    /// The subject's common name.
    pub common_name: String,
    /// The subject's organisations.
    pub organizations: Vec<String>,
    /// DNS names.
    pub names: Vec<String>,
    /// IP addresses.
    pub addresses: Vec<IpAddr>,
    /// E-mail addresses.
    pub emails: Vec<String>,
    /// URIs.
    pub uris: Vec<String>,
    /// The request as it came, which signing reads the key from.
    pub der: Vec<u8>,
}

impl CertificateRequest {
    /// Reads a request and verifies its signature. The texts are Go's, as kube-apiserver repeats them.
    pub fn from_pem(pem: &[u8]) -> Result<Self, RequestError> {
        let not_one = RequestError::Pem;
        let (block, _) = Pem::read(std::io::Cursor::new(pem)).map_err(|_| not_one)?;
        if block.label != "CERTIFICATE REQUEST" {
            return Err(RequestError::Pem);
        }
        let (_, request) = X509CertificationRequest::from_der(&block.contents).map_err(|_| RequestError::Malformed)?;
        request.verify_signature().map_err(|_| RequestError::Signature)?;
        let subject = &request.certification_request_info.subject;
        // Nobody has two names: who judges the request and who reads the certificate must mean the same one.
        if subject.iter_common_name().count() > 1 {
            return Err(RequestError::Malformed);
        }
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().unwrap_or_default().to_owned();
        let mut asked = Self {
            common_name: subject.iter_common_name().last().map(text).unwrap_or_default(),
            organizations: subject.iter_organization().map(text).collect(),
            der: block.contents.clone(),
            ..Self::default()
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(alternatives) = extension else { continue };
            for name in &alternatives.general_names {
                match name {
                    GeneralName::DNSName(name) => asked.names.push((*name).to_owned()),
                    GeneralName::RFC822Name(name) => asked.emails.push((*name).to_owned()),
                    GeneralName::URI(uri) => asked.uris.push((*uri).to_owned()),
                    GeneralName::IPAddress(bytes) => {
                        asked.addresses.push(address(bytes).ok_or(RequestError::Malformed)?)
                    }
                    _ => {}
                }
            }
        }
        Ok(asked)
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Why a request cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not one PEM block of the right type.
    #[error("PEM block type must be CERTIFICATE REQUEST")]
    Pem,
    /// The block holds something else.
    #[error("asn1: structure error: malformed certificate request")]
    Malformed,
    /// It was not made by who holds the key.
    #[error("x509: signature of the certificate request cannot be verified")]
    Signature,
}

/// Whether a text is nothing but certificates (`status.certificate`); says why not, in kube-apiserver's words.
pub fn check_certificates(pem: &[u8]) -> Result<(), String> {
    let mut found = 0;
    for block in Pem::iter_from_buffer(pem) {
        let Ok(block) = block else { break };
        if block.label != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found \"{}\"", block.label));
        }
        X509Certificate::from_der(&block.contents).map_err(|error| format!("x509: malformed certificate: {error}"))?;
        found += 1;
    }
    if found == 0 { Err("must contain at least one CERTIFICATE PEM block".to_owned()) } else { Ok(()) }
}

impl CertificateAuthority {
    /// Signs a request for these usages (Kubernetes' names) and this long, but never for longer than the CA itself lasts.
    pub fn sign(
        &self,
        request: &CertificateRequest,
        usages: &[String],
        lifetime: Duration,
    ) -> Result<String, PkiError> {
        let malformed = || PkiError::Unsupported("the CA's own certificate cannot be read".to_owned());
        let key = KeyPair::from_pem(self.key())?;
        let (block, _) = Pem::read(std::io::Cursor::new(self.certificate())).map_err(|_| malformed())?;
        let (_, ca) = X509Certificate::from_der(&block.contents).map_err(|_| malformed())?;
        let (_, asked) = X509CertificationRequest::from_der(&request.der)
            .map_err(|_| PkiError::Unsupported("the request cannot be read".to_owned()))?;
        let algorithm = algorithm(&key)?;
        let now = SystemTime::now();
        let until = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        let end = until(now + lifetime).min(ca.validity().not_after.timestamp());
        let mut serial = uuid_bytes();
        serial[0] = serial[0] & 0x7f | 0x40;

        let mut extensions = Vec::new();
        let bits = usages.iter().filter_map(|usage| key_usage(usage)).fold(0u16, |all, bit| all | 1 << bit);
        if bits != 0 {
            extensions.push(extension(&[0x55, 0x1d, 0x0f], true, &key_usage_bits(bits)));
        }
        let extended: Vec<u8> =
            usages.iter().filter_map(|usage| extended_usage(usage)).flat_map(|oid| der(0x06, oid)).collect();
        if !extended.is_empty() {
            extensions.push(extension(&[0x55, 0x1d, 0x25], false, &der(0x30, &extended)));
        }
        extensions.push(extension(&[0x55, 0x1d, 0x13], true, &der(0x30, &[])));
        if let Some(id) = key_identifier(&ca) {
            extensions.push(extension(&[0x55, 0x1d, 0x23], false, &der(0x30, &der(0x80, id))));
        }
        let alternatives = alternatives(request);
        if !alternatives.is_empty() {
            extensions.push(extension(&[0x55, 0x1d, 0x11], false, &der(0x30, &alternatives)));
        }

        let body = [
            der(0xa0, &der(0x02, &[2])),
            der(0x02, &serial),
            algorithm.clone(),
            ca.subject().as_raw().to_vec(),
            der(0x30, &[time(until(now - BACKDATE)), time(end)].concat()),
            asked.certification_request_info.subject.as_raw().to_vec(),
            asked.certification_request_info.subject_pki.raw.to_vec(),
            der(0xa3, &der(0x30, &extensions.concat())),
        ];
        let body = der(0x30, &body.concat());
        let signature = key.sign(&body)?;
        let whole = der(0x30, &[body, algorithm, der(0x03, &[&[0], signature.as_slice()].concat())].concat());
        Ok(pem(&whole))
    }
}

fn uuid_bytes() -> [u8; 16] {
    use ring::rand::SecureRandom;
    let mut bytes = [0; 16];
    // Without randomness there would be no keys and no TLS either; the time keeps serials apart even then.
    if ring::rand::SystemRandom::new().fill(&mut bytes).is_err() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        bytes = now.as_nanos().to_be_bytes();
    }
    bytes
}

/// The AlgorithmIdentifier of the CA key's signatures.
fn algorithm(key: &KeyPair) -> Result<Vec<u8>, PkiError> {
    const ECDSA: [u8; 7] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    let ecdsa = |last: u8| der(0x30, &der(0x06, &[&ECDSA[..], &[last]].concat()));
    if key.is_compatible(&rcgen::PKCS_ECDSA_P256_SHA256) {
        Ok(ecdsa(2))
    } else if key.is_compatible(&rcgen::PKCS_ECDSA_P384_SHA384) {
        Ok(ecdsa(3))
    } else if key.is_compatible(&rcgen::PKCS_ED25519) {
        Ok(der(0x30, &der(0x06, &[0x2b, 0x65, 0x70])))
    } else if key.is_compatible(&rcgen::PKCS_RSA_SHA256) {
        let oid = der(0x06, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b]);
        Ok(der(0x30, &[oid, der(0x05, &[])].concat()))
    } else {
        Err(PkiError::Unsupported("the CA's key type cannot sign requests".to_owned()))
    }
}

fn key_identifier<'a>(ca: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    ca.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    })
}

/// The bit of a key usage, by Kubernetes' name.
fn key_usage(usage: &str) -> Option<u8> {
    Some(match usage {
        "signing" | "digital signature" => 0,
        "content commitment" => 1,
        "key encipherment" => 2,
        "data encipherment" => 3,
        "key agreement" => 4,
        "cert sign" => 5,
        "crl sign" => 6,
        "encipher only" => 7,
        "decipher only" => 8,
        _ => return None,
    })
}

/// The object identifier of an extended key usage, by Kubernetes' name.
fn extended_usage(usage: &str) -> Option<&'static [u8]> {
    Some(match usage {
        "any" => &[0x55, 0x1d, 0x25, 0x00],
        "server auth" => &[0x2b, 6, 1, 5, 5, 7, 3, 1],
        "client auth" => &[0x2b, 6, 1, 5, 5, 7, 3, 2],
        "code signing" => &[0x2b, 6, 1, 5, 5, 7, 3, 3],
        "email protection" | "s/mime" => &[0x2b, 6, 1, 5, 5, 7, 3, 4],
        "ipsec end system" => &[0x2b, 6, 1, 5, 5, 7, 3, 5],
        "ipsec tunnel" => &[0x2b, 6, 1, 5, 5, 7, 3, 6],
        "ipsec user" => &[0x2b, 6, 1, 5, 5, 7, 3, 7],
        "timestamping" => &[0x2b, 6, 1, 5, 5, 7, 3, 8],
        "ocsp signing" => &[0x2b, 6, 1, 5, 5, 7, 3, 9],
        _ => return None,
    })
}

/// A BIT STRING whose first bit is bit 0, without the zeros at its end.
fn key_usage_bits(bits: u16) -> Vec<u8> {
    let bytes = bits.reverse_bits().to_be_bytes();
    let bytes = if bytes[1] == 0 { &bytes[..1] } else { &bytes[..] };
    let unused = bytes.last().map_or(0, |last| last.trailing_zeros() as u8);
    der(0x03, &[&[unused], bytes].concat())
}

fn alternatives(request: &CertificateRequest) -> Vec<u8> {
    let mut names = Vec::new();
    names.extend(request.names.iter().flat_map(|name| der(0x82, name.as_bytes())));
    names.extend(request.emails.iter().flat_map(|name| der(0x81, name.as_bytes())));
    names.extend(request.addresses.iter().flat_map(|address| match address {
        IpAddr::V4(v4) => der(0x87, &v4.octets()),
        IpAddr::V6(v6) => der(0x87, &v6.octets()),
    }));
    names.extend(request.uris.iter().flat_map(|uri| der(0x86, uri.as_bytes())));
    names
}

fn extension(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let flag = if critical { der(0x01, &[0xff]) } else { Vec::new() };
    der(0x30, &[der(0x06, oid), flag, der(0x04, value)].concat())
}

/// UTCTime until 2049, GeneralizedTime afterwards (RFC 5280).
fn time(seconds: i64) -> Vec<u8> {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Civil date from days (H. Hinnant's algorithm).
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let rest = format!("{month:02}{day:02}{:02}{:02}{:02}Z", rest / 3600, rest / 60 % 60, rest % 60);
    if year < 2050 {
        der(0x17, format!("{:02}{rest}", year % 100).as_bytes())
    } else {
        der(0x18, format!("{year:04}{rest}").as_bytes())
    }
}

/// Tag, length, value.
fn der(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = value.len();
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let significant = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1)..];
        out.push(0x80 | significant.len() as u8);
        out.extend(significant);
    }
    out.extend(value);
    out
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = more;
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, SanType};

    fn request() -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "jane");
        params.distinguished_name.push(DnType::OrganizationName, "dev");
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 10]), "ops");
        params.subject_alt_names =
            vec![SanType::DnsName("a.example".try_into().unwrap()), SanType::IpAddress([10, 0, 0, 1].into())];
        params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
    }

    #[test]
    fn a_certificate_holds_what_was_asked_for() {
        let ca = CertificateAuthority::generate("test").unwrap();
        let asked = CertificateRequest::from_pem(request().as_bytes()).unwrap();
        assert_eq!((asked.common_name.as_str(), asked.organizations.len()), ("jane", 2));
        let usages = ["digital signature", "key encipherment", "client auth"].map(str::to_owned);
        let signed = ca.sign(&asked, &usages, Duration::from_secs(3600)).unwrap();
        check_certificates(signed.as_bytes()).unwrap();
        let (block, _) = Pem::read(std::io::Cursor::new(signed.as_bytes())).unwrap();
        let (rest, certificate) = X509Certificate::from_der(&block.contents).unwrap();
        assert!(rest.is_empty());
        let (root, _) = Pem::read(std::io::Cursor::new(ca.certificate().as_bytes())).unwrap();
        let (_, root) = X509Certificate::from_der(&root.contents).unwrap();
        certificate.verify_signature(Some(root.public_key())).unwrap();
        assert_eq!(certificate.issuer(), root.subject());
        let usage = certificate.key_usage().unwrap().unwrap().value;
        assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
        assert!(certificate.extended_key_usage().unwrap().unwrap().value.client_auth);
        assert!(!certificate.is_ca());
        let lasts = certificate.validity().not_after.timestamp() - certificate.validity().not_before.timestamp();
        assert_eq!(lasts, 3600 + 300);
        assert!(certificate.validity().is_valid());
        let user = crate::user_of_certificate(&block.contents).unwrap();
        assert_eq!(user.name, "jane");
        assert!(["dev", "ops"].iter().all(|group| user.groups.iter().any(|g| g == group)), "{user:?}");
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 2);
    }

    #[test]
    fn a_certificate_never_outlives_its_ca() {
        let ca = CertificateAuthority::generate("test").unwrap();
        let asked = CertificateRequest::from_pem(request().as_bytes()).unwrap();
        let signed = ca.sign(&asked, &[], Duration::from_secs(100 * 365 * 86_400)).unwrap();
        let (block, _) = Pem::read(std::io::Cursor::new(signed.as_bytes())).unwrap();
        let (_, certificate) = X509Certificate::from_der(&block.contents).unwrap();
        let (root, _) = Pem::read(std::io::Cursor::new(ca.certificate().as_bytes())).unwrap();
        let (_, root) = X509Certificate::from_der(&root.contents).unwrap();
        assert_eq!(certificate.validity().not_after, root.validity().not_after);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert_eq!(CertificateRequest::from_pem(b"junk"), Err(RequestError::Pem));
        let other = request().replace("CERTIFICATE REQUEST", "CERTIFICATE");
        assert_eq!(CertificateRequest::from_pem(other.as_bytes()), Err(RequestError::Pem));
        let (mut block, _) = Pem::read(std::io::Cursor::new(request().as_bytes())).unwrap();
        let end = block.contents.len() - 1;
        block.contents[end] ^= 1;
        let forged = pem(&block.contents).replace("CERTIFICATE", "CERTIFICATE REQUEST");
        assert!(matches!(
            CertificateRequest::from_pem(forged.as_bytes()),
            Err(RequestError::Signature | RequestError::Malformed)
        ));
        assert!(check_certificates(b"junk").is_err());
    }

    #[test]
    fn times_are_written_as_rfc_5280_says() {
        assert_eq!(time(0), der(0x17, b"700101000000Z"));
        assert_eq!(time(951_782_400), der(0x17, b"000229000000Z"));
        assert_eq!(time(2_524_608_000), der(0x18, b"20500101000000Z"));
    }
}
