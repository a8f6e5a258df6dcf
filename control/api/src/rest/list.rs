//! `GET` of a collection, in one piece or in pages that all show the same revision.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use base64::{DecodeError, Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Response;
use orlop_store::{KeyRange, RangeRequest};
use serde::{Deserialize, Serialize};

use super::{Call, read::parse_version};
use crate::cache::{Cache, Objects};
use crate::object::Object;
use crate::registry::{decode, store_failed};
use crate::selector::Selectors;
use crate::status::Status;
use crate::wire::Body;

/// How many keys are read from the store at once for a page of an older revision.
const STORE_PAGE: usize = 500;

/// The revision of a token that goes on with whatever there is.
const INCONSISTENT: i64 = -1;
const TOO_OLD: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without \
    the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with \
    the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the \
    first chunk was returned and now may show up in the list.";

/// What a list found.
pub struct Page {
    /// In key order.
    pub objects: Vec<Arc<Object>>,
    /// `metadata.resourceVersion`.
    pub revision: i64,
    /// `metadata.continue`.
    pub next: Option<String>,
    /// `metadata.remainingItemCount`.
    pub remaining: Option<usize>,
}

/// The content of a `continue` token.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Continue {
    v: String,
    rv: i64,
    start: String,
}

impl Call {
    pub(super) async fn list(&self) -> Result<Response<Body>, Status> {
        let mut page = self.page().await?;
        page.objects = self.present(page.objects).await?;
        self.render_list(page)
    }

    /// Both selectors, checked against what the kind can be selected by.
    pub(super) fn selectors(&self) -> Result<Selectors, Status> {
        let mut selectors = Selectors::parse(self.query.text("labelSelector"), self.query.text("fieldSelector"))?;
        crate::convert::selector(&self.resource, &mut selectors.fields);
        let rules = crate::strategy::rules(&self.resource);
        for path in selectors.fields.paths() {
            let selectable = self.resource.custom.as_ref().is_some_and(|custom| custom.selects_by(path));
            if !selectable && !rules.supports_field(path) {
                let plain = !rules.has_fields() && self.resource.custom.is_none();
                return Err(Status::bad_request(if plain {
                    format!("{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
                } else {
                    format!("field label not supported: {path}")
                }));
            }
        }
        Ok(selectors)
    }

    /// The objects that the list's options choose.
    pub(super) async fn page(&self) -> Result<Page, Status> {
        let selectors = self.selectors()?;
        self.query.integer("timeoutSeconds")?;
        let limit = usize::try_from(self.query.integer("limit")?.unwrap_or(0)).unwrap_or(0);
        // What any cache may answer, it answers whole.
        let limit = if self.query.text("resourceVersion") == "0" { 0 } else { limit };
        if !self.selects_converted(&selectors) {
            return self.page_of(&selectors, limit).await;
        }
        let mut page = self.page_of(&selectors.labels_only(), 0).await?;
        page.objects = self.present(page.objects).await?;
        page.objects.retain(|object| selectors.matches(object));
        if limit > 0 && page.objects.len() > limit {
            page.objects.truncate(limit);
            page.continue_after();
        }
        Ok(page)
    }

    /// Whether fields are asked for that an object has only once it is converted to the version of the request.
    pub(super) fn selects_converted(&self, selectors: &Selectors) -> bool {
        let converts = self.resource.custom.as_ref().is_some_and(|custom| custom.converts());
        converts && selectors.fields.paths().any(|path| !path.starts_with("metadata."))
    }

    async fn page_of(&self, selectors: &Selectors, limit: usize) -> Result<Page, Status> {
        let cache = self.cache()?;
        let version = self.query.text("resourceVersion");
        let matching = self.query.text("resourceVersionMatch");
        let token = self.query.text("continue");
        self.check_list_options()?;
        if !token.is_empty() {
            let token = parse_continue(token, &self.prefix())?;
            if token.rv == INCONSISTENT {
                self.server.registry().hub().fresh(&cache).await?;
                return Ok(self.newest(&cache, selectors, limit, &token.start));
            }
            let page = self.page_at(&cache, selectors, limit, token.rv, token.start.clone()).await;
            return page.map_err(|status| if status.code == 410 { token.expired() } else { status });
        }
        let hub = self.server.registry().hub();
        match version {
            "" => hub.fresh(&cache).await?,
            "0" => {}
            version => {
                let revision = parse_version(version)
                    .map_err(|status| Status::bad_request(format!("invalid resource version: {}", status.message)))?;
                if matching == "Exact" {
                    return self.page_at(&cache, selectors, limit, revision, String::new()).await;
                }
                hub.reach(revision).await?;
            }
        }
        Ok(self.newest(&cache, selectors, limit, ""))
    }

    /// A page of what there is now.
    fn newest(&self, cache: &Cache, selectors: &Selectors, limit: usize, start: &str) -> Page {
        let before = self.server.registry().hub().revision();
        let (objects, latest) = cache.snapshot();
        self.cut(&objects, selectors, limit, before.max(latest), start)
    }

    fn prefix(&self) -> String {
        let namespace = self.namespace();
        if namespace.is_empty() { String::new() } else { format!("{namespace}/") }
    }

    /// A page out of a snapshot, from the key `start` on.
    fn cut(&self, objects: &Objects, selectors: &Selectors, limit: usize, revision: i64, start: &str) -> Page {
        let prefix = self.prefix();
        let from: Arc<str> = if start.is_empty() { prefix.as_str().into() } else { start.into() };
        let all = objects.range((Bound::Included(from), behind(&prefix)));
        let mut page = Page { objects: Vec::new(), revision, next: None, remaining: None };
        let everything = selectors.is_everything();
        let mut all = all.filter(|(_, object)| everything || selectors.matches(object)).map(|(_, object)| object);
        if limit == 0 {
            page.objects.extend(all.cloned());
            return page;
        }
        page.objects.extend(all.by_ref().take(limit).cloned());
        let rest = all.count();
        if rest > 0 {
            page.continue_after();
            page.remaining = everything.then_some(rest);
        }
        page
    }

    /// A page as of `revision`: from the cache if nothing changed since, else from the store's history.
    async fn page_at(
        &self,
        cache: &Cache,
        selectors: &Selectors,
        limit: usize,
        revision: i64,
        start: String,
    ) -> Result<Page, Status> {
        let hub = self.server.registry().hub();
        hub.reach(revision).await?;
        let (objects, latest) = cache.snapshot();
        if latest <= revision {
            return Ok(self.cut(&objects, selectors, limit, revision, &start));
        }
        let root = format!("/registry/{}/", cache.resource.storage);
        let mut range = KeyRange::prefix(format!("{root}{}", self.prefix()));
        if !start.is_empty() {
            range.start = format!("{root}{start}").into();
        }
        let mut page = Page { objects: Vec::new(), revision, next: None, remaining: None };
        loop {
            let request = RangeRequest { range: range.clone(), revision, limit: STORE_PAGE, count_only: false };
            let (registry, begun) = (self.server.registry(), Instant::now());
            let read = registry.store().range(request).await.map_err(store_failed)?;
            registry.metrics().done("list", &cache.resource, begun);
            for (i, kv) in read.kvs.iter().enumerate() {
                let object = decode(&cache.resource, kv)?;
                if !selectors.matches(&object) {
                    continue;
                }
                if limit > 0 && page.objects.len() == limit {
                    page.continue_after();
                    page.remaining = selectors.is_everything().then_some(read.count - i);
                    return Ok(page);
                }
                page.objects.push(object);
            }
            match read.kvs.last() {
                Some(last) if read.more => range.start = [&last.key[..], b"\0"].concat().into(),
                _ => return Ok(page),
            }
        }
    }
}

/// The end of all keys that begin with `prefix`, which is empty or ends with a slash.
fn behind(prefix: &str) -> Bound<Arc<str>> {
    match prefix.strip_suffix('/') {
        Some(namespace) => Bound::Excluded(format!("{namespace}0").into()),
        None => Bound::Unbounded,
    }
}

impl Continue {
    fn new(rv: i64, start: String) -> Self {
        Self { v: "meta.k8s.io/v1".into(), rv, start }
    }

    fn text(&self) -> Option<String> {
        serde_json::to_vec(self).ok().map(|json| URL_SAFE_NO_PAD.encode(json))
    }

    /// Its revision is forgotten: who is content with what there is now may go on.
    fn expired(self) -> Status {
        let next = Self::new(INCONSISTENT, self.start).text().map(Into::into);
        Status { next, ..Status::expired(TOO_OLD) }
    }
}

impl Page {
    fn continue_after(&mut self) {
        if let Some(last) = self.objects.last() {
            self.next = Continue::new(self.revision, format!("{}\0", last.key())).text();
        }
    }
}

/// A token is the client's word: it may only continue within the prefix that the request was authorized for.
fn parse_continue(text: &str, prefix: &str) -> Result<Continue, Status> {
    let invalid = |why: String| Status::bad_request(format!("invalid continue token: {why}"));
    let key = |why: String| invalid(format!("continue key is not valid: {why}"));
    let json = URL_SAFE_NO_PAD.decode(text).map_err(|error| {
        let at = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
            _ => text.len() / 4 * 4,
        };
        key(format!("illegal base64 data at input byte {at}"))
    })?;
    let token: Continue = match orlop_schema::decode::parse(&json) {
        Ok(parsed) => serde_json::from_value(parsed.object).map_err(|error| key(error.to_string()))?,
        Err(error) => return Err(key(error.to_string())),
    };
    if token.v != "meta.k8s.io/v1" {
        return Err(key(format!("server does not recognize this encoded version {}", token.v)));
    }
    if token.rv == 0 {
        return Err(key("incorrect encoded start resourceVersion (version meta.k8s.io/v1)".into()));
    }
    if token.start.is_empty() {
        return Err(key("encoded start key empty (version meta.k8s.io/v1)".into()));
    }
    if (token.rv < 0 && token.rv != INCONSISTENT)
        || token.start.len() <= prefix.len()
        || !token.start.starts_with(prefix)
    {
        return Err(key(format!("encoded start key not properly encoded (version meta.k8s.io/v1): {}", token.start)));
    }
    Ok(token)
}
