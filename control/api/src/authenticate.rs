//! Who sends a request: the in-process client's user, the TLS client certificate's, or the bearer token's.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::request::Parts;
use orlop_auth::bootstrap_token::{self, BootstrapToken};
use orlop_auth::{Certified, UserInfo};

use crate::object::meta;
use crate::server::ApiServer;
use crate::status::Status;

/// A user whose identity is proven already (an in-process component). Travels as a request extension,
/// which nothing from the network can set.
#[derive(Debug, Clone)]
pub struct Identity(pub Arc<UserInfo>);

/// What a connection's client certificate says of its requests. Travels like [`Identity`].
#[derive(Debug, Clone)]
pub struct Certificate(pub Option<Certified>);

impl ApiServer {
    /// The user of a request; without credentials `system:anonymous`, with bad ones 401.
    pub(crate) async fn authenticate(&self, parts: &Parts) -> Result<Arc<UserInfo>, Status> {
        if let Some(Identity(user)) = parts.extensions.get() {
            return Ok(user.clone());
        }
        let certificate = parts.extensions.get::<Certificate>();
        if let Some(user) = certificate.and_then(|Certificate(certified)| certified.as_ref()?.user()) {
            return Ok(user.clone());
        }
        // Who shows something else than a bearer token has shown nothing.
        let text = parts.headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok()).unwrap_or_default();
        let bearer = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some(token) = bearer.map(|(_, token)| token.trim()).filter(|token| !token.is_empty()) else {
            // A bad certificate is not none.
            return certificate.map_or_else(|| Ok(Arc::new(UserInfo::anonymous())), |_| Err(Status::unauthorized()));
        };
        self.user_of_token(token, &[]).await.map(|(user, _)| Arc::new(user)).ok_or_else(Status::unauthorized)
    }

    /// The service account that a token speaks for, and the audiences that it is good for among `audiences`, if the account
    /// (and the pod that the token is bound to) still exists.
    pub(crate) async fn user_of_token(&self, token: &str, audiences: &[String]) -> Option<(UserInfo, Vec<String>)> {
        if self.config().bootstrap_tokens
            && let Some((id, secret)) = bootstrap_token::parse(token)
        {
            return self.user_of_bootstrap_token(id, secret, audiences).await;
        }
        let claims = self.config().tokens.verify(token, audiences).ok()?;
        // The account may have been made by this very client a moment ago.
        for storage in ["serviceaccounts", "pods", "secrets"] {
            let cache = self.registry().hub().cache_at(storage)?;
            self.registry().hub().fresh(&cache).await.ok()?;
        }
        let alive = |storage: &str, name: &str, uid: &str| {
            let cache = self.registry().hub().cache_at(storage)?;
            let object = cache.get(&format!("{}/{name}", claims.namespace()))?;
            (*object.uid == *uid).then_some(())
        };
        let account = claims.service_account();
        alive("serviceaccounts", &account.name, &account.uid)?;
        if let Some(pod) = claims.pod() {
            alive("pods", &pod.name, &pod.uid)?;
        }
        if let Some(secret) = claims.secret() {
            alive("secrets", &secret.name, &secret.uid)?;
        }
        let wanted = if audiences.is_empty() { self.config().tokens.audiences() } else { audiences };
        let good = claims.audiences().iter().filter(|a| wanted.contains(a)).cloned().collect();
        Some((claims.user(), good))
    }

    /// Whom a bootstrap token speaks for, if there is a Secret of it. It is good for whatever this server is.
    async fn user_of_bootstrap_token(
        &self,
        id: &str,
        secret: &str,
        audiences: &[String],
    ) -> Option<(UserInfo, Vec<String>)> {
        let own = self.config().tokens.audiences();
        let good: Vec<String> = own.iter().filter(|a| audiences.is_empty() || audiences.contains(a)).cloned().collect();
        let hub = self.registry().hub();
        let cache = hub.cache_at("secrets")?;
        hub.fresh(&cache).await.ok()?;
        let name = bootstrap_token::secret_name(id);
        let object = cache.get(&format!("{}/{name}", bootstrap_token::NAMESPACE))?.value();
        if object["type"] != bootstrap_token::SECRET_TYPE || !meta(&object, "deletionTimestamp").is_empty() {
            return None;
        }
        let data = |key: &str| STANDARD.decode(object["data"][key].as_str()?).ok();
        let user = BootstrapToken::read(&name, data)?.user(secret, jiff::Timestamp::now())?;
        (!good.is_empty()).then_some((user, good))
    }
}
