//! A verified client certificate names its user: CN is the user, each O a group.

use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::UserInfo;

/// The user that a client certificate (DER, already verified against the CA by TLS) speaks for.
/// `None` if it cannot be parsed or has no common name.
pub fn user_of_certificate(der: &[u8]) -> Option<UserInfo> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    // Of several the last counts, as in Go.
    let name = subject.iter_common_name().last()?.as_str().ok()?;
    if name.is_empty() {
        return None;
    }
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok());
    Some(UserInfo::new(name, groups))
}
