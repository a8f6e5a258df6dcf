//! Service-account tokens: signed and verified (TokenRequest, KEP-1205 bound tokens).
//!
//! A token says who (`sub`), for whom (`aud`), until when (`exp`), and which objects it is bound to: it dies with its
//! ServiceAccount, Secret or Pod. Whether those still exist is the caller's question to the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use ring::digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::UserInfo;
use verified::Verified;

mod verified;

/// Why a token is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The keys cannot be read.
    #[error("service account key: {0}")]
    Key(jsonwebtoken::errors::Error),
    /// The token is malformed, expired, not ours or forged.
    #[error("invalid bearer token: {0}")]
    Invalid(jsonwebtoken::errors::Error),
    /// The token is for somebody else.
    #[error("invalid bearer token: audiences {0:?} do not include this API server")]
    Audience(Vec<String>),
}

/// An object a token is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundObject {
    /// Name.
    pub name: String,
    /// UID; the token dies when the object with this UID is gone.
    pub uid: String,
}

/// The `kubernetes.io` part of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesClaims {
    namespace: String,
    serviceaccount: BoundObject,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<BoundObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<BoundObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<BoundObject>,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    iss: String,
    jti: String,
    nbf: i64,
    sub: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: KubernetesClaims,
}

impl Claims {
    /// The service account's namespace.
    pub fn namespace(&self) -> &str {
        &self.kubernetes.namespace
    }
    /// The service account.
    pub fn service_account(&self) -> &BoundObject {
        &self.kubernetes.serviceaccount
    }
    /// The pod that the token is bound to.
    pub fn pod(&self) -> Option<&BoundObject> {
        self.kubernetes.pod.as_ref()
    }
    /// The secret that the token is bound to.
    pub fn secret(&self) -> Option<&BoundObject> {
        self.kubernetes.secret.as_ref()
    }
    /// Whom the token is for.
    pub fn audiences(&self) -> &[String] {
        &self.aud
    }
    /// When it ends, seconds since 1970.
    pub fn expires(&self) -> i64 {
        self.exp
    }

    /// The user that the token speaks for.
    pub fn user(&self) -> UserInfo {
        let account = &self.kubernetes.serviceaccount;
        let mut user = UserInfo::service_account(&self.kubernetes.namespace, &account.name);
        user.uid.clone_from(&account.uid);
        let mut extra = BTreeMap::new();
        let mut add = |key: &str, value: String| {
            extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
        };
        add("credential-id", format!("JTI={}", self.jti));
        if let Some(pod) = &self.kubernetes.pod {
            add("pod-name", pod.name.clone());
            add("pod-uid", pod.uid.clone());
        }
        if let Some(node) = &self.kubernetes.node {
            add("node-name", node.name.clone());
            add("node-uid", node.uid.clone());
        }
        user.extra = extra;
        user
    }
}

/// What to put into a new token.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// Namespace of the service account.
    pub namespace: String,
    /// The service account.
    pub service_account: BoundObject,
    /// Pod to bind to.
    pub pod: Option<BoundObject>,
    /// Secret to bind to.
    pub secret: Option<BoundObject>,
    /// Node of the pod.
    pub node: Option<BoundObject>,
    /// Audiences; empty means the API server itself.
    pub audiences: Vec<String>,
    /// Lifetime in seconds.
    pub seconds: i64,
    /// Now, seconds since 1970.
    pub now: i64,
    /// A unique id (UUID).
    pub id: String,
}

/// Bytes of the longest token that is looked at; ours have about a thousand.
const LONGEST: usize = 16 << 10;

/// Signs and verifies service-account tokens.
pub struct TokenAuthority {
    issuer: String,
    audiences: Vec<String>,
    header: Header,
    signing: EncodingKey,
    verifying: DecodingKey,
    public_pem: String,
    verified: Verified,
}

impl TokenAuthority {
    /// `key` and `public` are PEM (ECDSA P-256); `issuer` is `--service-account-issuer`, also the default audience.
    pub fn new(issuer: &str, key: &str, public: &str) -> Result<Self, TokenError> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(key_id(public));
        Ok(Self {
            issuer: issuer.to_owned(),
            audiences: vec![issuer.to_owned()],
            header,
            signing: EncodingKey::from_ec_pem(key.as_bytes()).map_err(TokenError::Key)?,
            verifying: DecodingKey::from_ec_pem(public.as_bytes()).map_err(TokenError::Key)?,
            public_pem: public.to_owned(),
            verified: Verified::default(),
        })
    }

    /// The issuer's URL.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The audiences the API server answers to.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// The public key as a JSON Web Key Set (RFC 7517), for `/openid/v1/jwks`.
    pub fn key_set(&self) -> Value {
        use base64::Engine as _;
        let der = der(&self.public_pem);
        // An uncompressed P-256 point is the end of the key's DER: 4, x, y.
        let (x, y) = der.last_chunk::<64>().map_or((&[][..], &[][..]), |point| point.split_at(32));
        let text = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": key_id(&self.public_pem), "crv": "P-256", "alg": "ES256",
            "x": text(x), "y": text(y),
        }]})
    }

    /// Signs a token.
    pub fn sign(&self, request: TokenRequest) -> Result<String, TokenError> {
        let audiences = if request.audiences.is_empty() { self.audiences.clone() } else { request.audiences };
        let claims = Claims {
            aud: audiences,
            exp: request.now + request.seconds,
            iat: request.now,
            iss: self.issuer.clone(),
            jti: request.id,
            nbf: request.now,
            sub: format!("system:serviceaccount:{}:{}", request.namespace, request.service_account.name),
            kubernetes: KubernetesClaims {
                namespace: request.namespace,
                serviceaccount: request.service_account,
                pod: request.pod,
                secret: request.secret,
                node: request.node,
            },
        };
        jsonwebtoken::encode(&self.header, &claims, &self.signing).map_err(TokenError::Key)
    }

    /// Checks signature, issuer, times and audience (`audiences` empty: the API server's own).
    pub fn verify(&self, token: &str, audiences: &[String]) -> Result<Arc<Claims>, TokenError> {
        let claims = self.claims(token)?;
        let wanted = if audiences.is_empty() { &self.audiences } else { audiences };
        if claims.aud.iter().any(|audience| wanted.contains(audience)) {
            Ok(claims)
        } else {
            Err(TokenError::Audience(claims.aud.clone()))
        }
    }

    fn claims(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(i64::MAX, |now| now.as_secs().cast_signed());
        if token.len() > LONGEST {
            return Err(TokenError::Invalid(ErrorKind::InvalidToken.into()));
        }
        if let Some(known) = self.verified.get(token, now) {
            return Ok(known);
        }
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[&self.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "sub", "aud"]);
        validation.validate_aud = false;
        validation.validate_nbf = true;
        validation.leeway = 0;
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.verifying, &validation);
        let claims = Arc::new(decoded.map_err(TokenError::Invalid)?.claims);
        self.verified.insert(token, &claims, now);
        Ok(claims)
    }
}

/// kube-apiserver's key id: base64url of the SHA-256 of the public key's DER.
fn key_id(public_pem: &str) -> String {
    use base64::Engine as _;
    let digest = digest::digest(&digest::SHA256, &der(public_pem));
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest)
}

fn der(pem: &str) -> Vec<u8> {
    use base64::Engine as _;
    let text: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default()
}
