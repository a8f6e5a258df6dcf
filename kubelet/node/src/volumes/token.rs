//! Service-account tokens bound to a pod, from the TokenRequest API, kept until they near their end.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, PostParams};

use crate::error::PodError;
use crate::pod;
use crate::within::{CALL, within};

#[derive(Debug, Clone)]
struct Token {
    text: String,
    expires: Timestamp,
    renew_at: Timestamp,
}

/// The tokens of the node's pods.
pub struct Tokens {
    client: kube::Client,
    known: Mutex<HashMap<(String, String, i64), Token>>,
}

impl Tokens {
    pub fn new(client: kube::Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// A token for the pod's service account. Asked for anew when 80 % of its life, or a day, has passed; a token that is still
    /// valid serves on when that fails.
    pub async fn get(&self, pod: &Pod, audience: &str, seconds: i64) -> Result<String, PodError> {
        let key = (pod::uid(pod).to_owned(), audience.to_owned(), seconds);
        let now = Timestamp::now();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(token) = known.as_ref().filter(|token| now < token.renew_at) {
            return Ok(token.text.clone());
        }
        match self.request(pod, audience, seconds).await {
            Ok(token) => {
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.retain(|_, token| now < token.expires);
                known.insert(key, token.clone());
                Ok(token.text)
            }
            Err(error) => match known.filter(|token| now < token.expires) {
                Some(token) => Ok(token.text),
                None => Err(error),
            },
        }
    }

    async fn request(&self, pod: &Pod, audience: &str, seconds: i64) -> Result<Token, PodError> {
        let account = pod::spec(pod).service_account_name.clone().unwrap_or_else(|| "default".to_owned());
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), pod::namespace(pod));
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(vec![audience.to_owned()]).filter(|_| !audience.is_empty()),
                expiration_seconds: Some(seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
            }),
            ..TokenRequest::default()
        };
        let failed = |error: String| PodError::Api(format!("failed to fetch token: {error}"));
        let reply: TokenRequest =
            within(CALL, accounts.create_subresource("token", &account, &PostParams::default(), &request))
                .await
                .map_err(|error| match error {
                    kube::Error::Api(answer) => failed(answer.message.clone()),
                    other => failed(other.to_string()),
                })?;
        let status = reply.status.unwrap_or_default();
        let (Some(text), Some(expires)) = (status.token, status.expiration_timestamp) else {
            return Err(failed("the reply has no token".into()));
        };
        let now = Timestamp::now();
        let life = expires.0.duration_since(now);
        let renew = (life * 4 / 5).min(jiff::SignedDuration::from_hours(24));
        Ok(Token { text, expires: expires.0, renew_at: now + renew })
    }
}
