//! Bootstrap tokens: `ID.SECRET`, kept in Secrets of the type `bootstrap.kubernetes.io/token` in kube-system, with which a new
//! node introduces itself and proves that it is told of the right cluster (`k8s.io/cluster-bootstrap`).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::hmac;

use crate::UserInfo;

/// The type of the Secrets.
pub const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
/// Where the Secrets are.
pub const NAMESPACE: &str = "kube-system";
const PREFIX: &str = "bootstrap-token-";
const GROUP: &str = "system:bootstrappers";

/// When a token ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    Never,
    /// After this moment.
    At(Timestamp),
    /// It has ended, or says nothing that can be read of when it ends.
    Past,
}

impl Expiry {
    /// Reads what stands under `expiration`.
    pub fn read(expiration: &str, now: Timestamp) -> Self {
        if expiration.is_empty() {
            return Self::Never;
        }
        match expiration.parse::<Timestamp>() {
            Ok(at) if at > now => Self::At(at),
            _ => Self::Past,
        }
    }
}

/// What a Secret says of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapToken {
    /// The part that everybody may know.
    pub id: String,
    secret: String,
    expiration: String,
    authenticates: bool,
    signs: bool,
    groups: String,
}

/// The two parts of what may be a bootstrap token.
pub fn parse(token: &str) -> Option<(&str, &str)> {
    token.split_once('.').filter(|(id, secret)| is_word(id, 6) && is_word(secret, 16))
}

/// The name of the Secret of a token.
pub fn secret_name(id: &str) -> String {
    format!("{PREFIX}{id}")
}

/// Small letters and digits, so many.
fn is_word(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

impl BootstrapToken {
    /// Reads a Secret of the right type by its name and data; `None` if the two do not belong together.
    pub fn read(name: &str, data: impl Fn(&str) -> Option<Vec<u8>>) -> Option<Self> {
        let text = |key: &str| data(key).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let id = name.strip_prefix(PREFIX).filter(|id| is_word(id, 6) && *id == text("token-id"))?;
        Some(Self {
            id: id.to_owned(),
            secret: text("token-secret"),
            expiration: text("expiration"),
            authenticates: text("usage-bootstrap-authentication") == "true",
            signs: text("usage-bootstrap-signing") == "true",
            groups: text("auth-extra-groups"),
        })
    }

    /// When the token ends.
    pub fn expiry(&self, now: Timestamp) -> Expiry {
        Expiry::read(&self.expiration, now)
    }

    /// Whom it speaks for who knows the secret.
    pub fn user(&self, secret: &str, now: Timestamp) -> Option<UserInfo> {
        let known = self.secret.as_bytes();
        // In a time that tells nothing of where they differ.
        let same =
            known.len() == secret.len() && known.iter().zip(secret.bytes()).fold(0, |d, (a, b)| d | (a ^ b)) == 0;
        if !same || !self.authenticates || self.expiry(now) == Expiry::Past {
            return None;
        }
        let mut groups = vec![GROUP.to_owned()];
        if !self.groups.is_empty() {
            for group in self.groups.split(',') {
                if !is_group(group) {
                    return None;
                }
                groups.push(group.to_owned());
            }
        }
        groups.sort();
        groups.dedup();
        Some(UserInfo::new(format!("system:bootstrap:{}", self.id), groups))
    }

    /// The signature of a content without the content (RFC 7515, appendix F), if the token is one that signs.
    pub fn sign(&self, content: &str, now: Timestamp) -> Option<String> {
        if !self.signs || self.secret.is_empty() || self.expiry(now) == Expiry::Past {
            return None;
        }
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","kid":"{}"}}"#, self.id));
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        let signed = hmac::sign(&key, format!("{header}.{}", URL_SAFE_NO_PAD.encode(content)).as_bytes());
        Some(format!("{header}..{}", URL_SAFE_NO_PAD.encode(signed)))
    }
}

/// `system:bootstrappers:` and up to 256 small letters, digits, colons and hyphens, of which the last is a letter or digit.
fn is_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else { return false };
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    rest.len() <= 256
        && rest.bytes().all(|b| letter(b) || b == b':' || b == b'-')
        && rest.bytes().last().is_some_and(letter)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: &str = "2026-11-22T12:00:00Z";

    fn read(changes: &[(&str, &str)]) -> Option<BootstrapToken> {
        let mut data = vec![
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
            ("usage-bootstrap-signing", "true"),
        ];
        data.retain(|(key, _)| changes.iter().all(|(changed, _)| changed != key));
        data.extend(changes);
        BootstrapToken::read("bootstrap-token-abcdef", |key| {
            data.iter().find(|(k, _)| *k == key).map(|(_, value)| value.as_bytes().to_vec())
        })
    }

    fn groups(changes: &[(&str, &str)]) -> Option<Vec<String>> {
        let user = read(changes)?.user("0123456789abcdef", NOW.parse().unwrap())?;
        assert_eq!(user.name, "system:bootstrap:abcdef");
        Some(user.groups)
    }

    #[test]
    fn a_token_has_six_and_sixteen_letters() {
        assert_eq!(parse("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for wrong in
            ["abcdef", "abcdef.0123456789abcde", "ABCDEF.0123456789abcdef", "abcdef.0123456789abcdef.", "a.b.c"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn who_knows_the_secret_is_a_bootstrapper() {
        let plain = ["system:bootstrappers", "system:authenticated"].map(String::from).to_vec();
        assert_eq!(groups(&[]), Some(plain.clone()));
        assert_eq!(groups(&[("expiration", "2026-11-22T14:00:00+01:00")]), Some(plain));
        let more = groups(&[("auth-extra-groups", "system:bootstrappers:foo,system:bootstrappers:foo")]).unwrap();
        assert_eq!(more, ["system:bootstrappers", "system:bootstrappers:foo", "system:authenticated"]);
    }

    #[test]
    fn a_token_that_is_wrong_in_any_way_is_nobodys() {
        for wrong in [
            ("token-secret", "0123456789abcdee"),
            ("token-secret", ""),
            ("token-id", "abcdeg"),
            ("usage-bootstrap-authentication", "yes"),
            ("expiration", "2026-11-22T12:00:00Z"),
            ("expiration", "tomorrow"),
            ("auth-extra-groups", "system:masters"),
            ("auth-extra-groups", "system:bootstrappers:foo,"),
            ("auth-extra-groups", "system:bootstrappers:foo-"),
        ] {
            assert_eq!(groups(&[wrong]), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_signature_is_that_of_kubernetes() {
        // From the tests of k8s.io/cluster-bootstrap/token/jws.
        let (content, id, secret) =
            ("Hello from the other side. I must have called a thousand times.", "joshua", "my voice is my passcode");
        let token = BootstrapToken::read("bootstrap-token-joshua", |key| {
            Some(
                match key {
                    "token-id" => id,
                    "token-secret" => secret,
                    "usage-bootstrap-signing" => "true",
                    _ => return None,
                }
                .into(),
            )
        });
        let signature = token.unwrap().sign(content, NOW.parse().unwrap());
        assert_eq!(
            signature.as_deref(),
            Some("eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8")
        );
        assert_eq!(read(&[("usage-bootstrap-signing", "false")]).unwrap().sign(content, NOW.parse().unwrap()), None);
    }
}
