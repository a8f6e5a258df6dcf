//! From where a request comes, with what, and how its sender tried to prove who they are. Pure.

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, USER_AGENT};

/// The other end of a connection. Travels as a request extension, where there is an audit log.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// A longer name of a client is cut.
const AGENT_LENGTH: usize = 1024;

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// An address as Go reads it where it is not strict: a number may begin with zeros.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let mut numbers = text.split('.').map(|number| match number.trim_start_matches('0') {
        "" if !number.is_empty() => Some(0),
        number => number.parse::<u8>().ok(),
    });
    let mut next = || numbers.next().flatten();
    let address = Ipv4Addr::new(next()?, next()?, next()?, next()?);
    numbers.next().is_none().then_some(IpAddr::V4(address))
}

/// The addresses that a request came by: what proxies say, and at last the one that cannot be made up.
pub fn source_ips(headers: &HeaderMap, peer: Option<IpAddr>) -> Vec<String> {
    let forwarded = text(headers, "x-forwarded-for").split(',');
    let mut all: Vec<IpAddr> = forwarded.filter_map(|part| address(part.trim())).collect();
    if let Some(real) = address(text(headers, "x-real-ip")).filter(|real| !all.contains(real)) {
        all.push(real);
    }
    if let Some(peer) = peer.map(|peer| peer.to_canonical()).filter(|peer| all.last() != Some(peer)) {
        all.push(peer);
    }
    all.iter().map(ToString::to_string).collect()
}

/// What the client calls itself.
pub fn user_agent(headers: &HeaderMap) -> String {
    let agent = String::from_utf8_lossy(headers.get(USER_AGENT).map_or(&[], |value| value.as_bytes()));
    match agent.char_indices().find(|(at, c)| at + c.len_utf8() > AGENT_LENGTH) {
        Some((at, _)) => format!("{}...TRUNCATED", &agent[..at]),
        None => agent.into_owned(),
    }
}

/// What somebody has shown who was not believed.
pub fn attempted(headers: &HeaderMap, access_token: &str, certificate: bool) -> String {
    let authorization = text(headers, AUTHORIZATION.as_str()).trim();
    let (scheme, rest) = authorization.split_once(' ').unwrap_or((authorization, ""));
    let mut methods = Vec::new();
    let basic = || STANDARD.decode(rest).is_ok_and(|decoded| decoded.contains(&b':'));
    if scheme.eq_ignore_ascii_case("basic") && basic() {
        methods.push("basic");
    }
    if scheme.eq_ignore_ascii_case("bearer") && authorization.contains(' ') {
        methods.push("bearer");
    }
    if !access_token.trim().is_empty() {
        methods.push("access_token");
    }
    if certificate {
        methods.push("x509");
    }
    match methods.as_slice() {
        [] => "Authentication failed, no credentials provided".to_owned(),
        methods => format!("Authentication failed, attempted: {}", methods.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn proxies_come_before_the_peer() {
        let ips = |pairs: &[(&'static str, &str)], peer: Option<&str>| {
            source_ips(&headers(pairs), peer.map(|peer| peer.parse().unwrap())).join(" ")
        };
        assert_eq!(ips(&[], None), "");
        assert_eq!(ips(&[], Some("::ffff:10.0.0.1")), "10.0.0.1");
        let forwarded = ("x-forwarded-for", "172.17.0.1, nobody,::1,010.0.0.010");
        assert_eq!(ips(&[forwarded], Some("10.0.0.9")), "172.17.0.1 ::1 10.0.0.10 10.0.0.9");
        let real = ("x-real-ip", "::1");
        assert_eq!(ips(&[real], Some("10.0.0.9")), "::1 10.0.0.9");
        assert_eq!(ips(&[forwarded, real], Some("10.0.0.10")), "172.17.0.1 ::1 10.0.0.10", "each is said once");
        assert_eq!(ips(&[("x-real-ip", "1.2.3"), ("x-forwarded-for", "1.2.3.4.5,1..2.3,1.2.3.256")], None), "");
    }

    #[test]
    fn a_long_name_of_a_client_is_cut() {
        let agent = |text: &str| user_agent(&headers(&[("user-agent", text)]));
        assert_eq!(agent("kubectl"), "kubectl");
        assert_eq!(agent(&"x".repeat(1024)).len(), 1024);
        assert_eq!(agent(&"x".repeat(1025)), format!("{}...TRUNCATED", "x".repeat(1024)));
        let split = agent(&format!("{}ä", "x".repeat(1023)));
        assert_eq!(split, format!("{}...TRUNCATED", "x".repeat(1023)));
    }

    #[test]
    fn what_was_shown_is_told_and_not_its_content() {
        let authorization = |text: &str| attempted(&headers(&[("authorization", text)]), "", false);
        assert_eq!(attempted(&HeaderMap::new(), "", false), "Authentication failed, no credentials provided");
        assert_eq!(authorization("Bearer secret"), "Authentication failed, attempted: bearer");
        assert_eq!(authorization("Basic YTpi"), "Authentication failed, attempted: basic");
        assert_eq!(authorization("Basic ?"), "Authentication failed, no credentials provided");
        assert_eq!(authorization("Bearer"), "Authentication failed, no credentials provided");
        let all = attempted(&headers(&[("authorization", "bearer x")]), "t", true);
        assert_eq!(all, "Authentication failed, attempted: bearer, access_token, x509");
    }
}
