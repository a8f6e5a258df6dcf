//! `GET` of one object.

use std::sync::Arc;

use http::Response;

use super::Call;
use crate::object::Object;
use crate::status::Status;
use crate::wire::Body;

impl Call {
    pub(super) async fn get(&self) -> Result<Response<Body>, Status> {
        let object = self.find().await?;
        self.render_object(200, object).await
    }

    /// The object that the request names, as new as `resourceVersion` asks for.
    pub async fn find(&self) -> Result<Arc<Object>, Status> {
        let cache = self.cache()?;
        let hub = self.server.registry().hub();
        match self.query.text("resourceVersion") {
            "" => hub.fresh(&cache).await?,
            "0" => {}
            version => hub.reach(parse_version(version)?).await?,
        }
        let key = crate::registry::cache_key(&self.resource, self.namespace(), &self.info.name);
        cache.get(&key).ok_or_else(|| Status::not_found(&self.resource, &self.info.name))
    }
}

/// What Go says of a `resourceVersion` that is no number.
pub(super) fn no_number(text: &str) -> String {
    format!("strconv.ParseUint: parsing {text:?}: invalid syntax")
}

/// A `resourceVersion` as a revision.
pub(super) fn parse_version(text: &str) -> Result<i64, Status> {
    text.parse::<u64>()
        .ok()
        .and_then(|v| i64::try_from(v).ok())
        .ok_or_else(|| Status::bad_request(format!("resourceVersion: Invalid value: \"{text}\": {}", no_number(text))))
}
