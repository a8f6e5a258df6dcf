//! Acting as somebody else (`kubectl --as`): headers that name a user, and the permission to do so for each thing they name
//! (`apiserver/pkg/endpoints/filters/impersonation`).

use std::collections::BTreeMap;

use http::HeaderMap;
use orlop_auth::UserInfo;

use crate::request::{Query, RequestInfo, percent_decode};
use crate::server::ApiServer;
use crate::status::Status;

mod modes;

use modes::{MODES, account};

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA: &str = "impersonate-extra-";

impl ApiServer {
    /// The user that the headers ask for, if `caller` may make this request as them, with the verb of constrained impersonation that
    /// allows it (none for the older way); `None` without such headers.
    pub(crate) fn impersonated(
        &self,
        caller: &UserInfo,
        headers: &HeaderMap,
        info: &RequestInfo,
        query: &Query,
    ) -> Result<Option<(UserInfo, String)>, Status> {
        let Some(mut wanted) = wanted(headers)? else { return Ok(None) };
        let mut refused = None;
        for mode in MODES.iter().filter(|mode| mode.applies(caller, &wanted)) {
            match mode.check(self.authorizer(), caller, &wanted, info, query) {
                Ok(groups) => {
                    wanted.groups = groups.unwrap_or(wanted.groups);
                    return Ok(Some((complete(wanted), mode.constraint())));
                }
                // The first refusal is the one that is told.
                Err(status) => refused = refused.or(Some(status)),
            }
        }
        Err(refused.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
    }
}

/// What the headers say.
fn wanted(headers: &HeaderMap) -> Result<Option<UserInfo>, Status> {
    let text = |value: &http::HeaderValue| value.to_str().map(ToOwned::to_owned);
    let all = |name: &str| headers.get_all(name).iter().map(text).collect::<Result<Vec<_>, _>>();
    let bad = |_| Status::bad_request("impersonation headers must be text");
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            extra.entry(percent_decode(key)).or_default().push(text(value).map_err(bad)?);
        }
    }
    let first = |name: &str| headers.get(name).map(text).transpose().map_err(bad).map(Option::unwrap_or_default);
    let wanted = UserInfo { name: first(USER)?, uid: first(UID)?, groups: all(GROUP).map_err(bad)?, extra };
    if !wanted.name.is_empty() {
        return Ok(Some(wanted));
    }
    if wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty() {
        return Ok(None);
    }
    // As Go prints the user that is asked for.
    let quoted = |values: &[String]| values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(", ");
    let list = |values: &[String]| match values {
        [] => "[]string(nil)".to_owned(),
        values => format!("[]string{{{}}}", quoted(values)),
    };
    let extra = match wanted.extra.len() {
        0 => "map[string][]string(nil)".to_owned(),
        _ => {
            let entries: Vec<String> =
                wanted.extra.iter().map(|(key, values)| format!("{key:?}:{}", list(values))).collect();
            format!("map[string][]string{{{}}}", entries.join(", "))
        }
    };
    Err(Status::bad_request(format!(
        "requested &user.DefaultInfo{{Name:\"\", UID:{:?}, Groups:{}, Extra:{extra}}} without impersonating a user name",
        wanted.uid,
        list(&wanted.groups)
    )))
}

/// With the groups that authentication would have added.
fn complete(mut user: UserInfo) -> UserInfo {
    if user.groups.is_empty()
        && let Some((namespace, name)) = account(&user.name)
    {
        user.groups = UserInfo::service_account(namespace, name).groups;
    }
    let everybody = match user.name.as_str() {
        "system:anonymous" => UserInfo::UNAUTHENTICATED,
        _ => UserInfo::AUTHENTICATED,
    };
    let known = [UserInfo::AUTHENTICATED, UserInfo::UNAUTHENTICATED];
    if !user.groups.iter().any(|g| known.contains(&g.as_str())) {
        user.groups.push(everybody.to_owned());
    }
    user
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn every_header_counts() {
        let user = wanted(&headers(&[
            ("Impersonate-User", "eve"),
            ("Impersonate-Group", "a"),
            ("Impersonate-Group", "b"),
            ("Impersonate-Extra-Acme.com%2Fproject", "x"),
        ]));
        let user = complete(user.unwrap().unwrap());
        assert_eq!(
            (user.name.as_str(), user.groups),
            ("eve", vec!["a".into(), "b".into(), UserInfo::AUTHENTICATED.into()])
        );
        assert_eq!(user.extra["acme.com/project"], ["x"]);
        assert_eq!(wanted(&headers(&[])).unwrap(), None);
        assert_eq!(wanted(&headers(&[("Impersonate-Group", "a")])).unwrap_err().code, 400);
    }

    #[test]
    fn a_service_account_comes_with_its_groups() {
        let user = wanted(&headers(&[("Impersonate-User", "system:serviceaccount:a:b")])).unwrap().unwrap();
        assert_eq!(complete(user), UserInfo::service_account("a", "b"));
    }
}
