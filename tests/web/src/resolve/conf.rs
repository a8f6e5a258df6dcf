//! resolv.conf(5): who is asked, and under which names.

use std::net::IpAddr;

/// What the file says; the last `search` line holds.
#[derive(Debug)]
pub struct Conf {
    /// `nameserver`.
    pub servers: Vec<IpAddr>,
    search: Vec<String>,
    ndots: usize,
}

impl Conf {
    /// Reads a file; one that is absent says nothing.
    pub fn read(path: &str) -> Self {
        Self::parse(&std::fs::read_to_string(path).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut conf = Self { servers: Vec::new(), search: Vec::new(), ndots: 1 };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => conf.servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok())),
                Some("search" | "domain") => conf.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let ndots = words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok()).next_back();
                    conf.ndots = ndots.unwrap_or(conf.ndots);
                }
                _ => {}
            }
        }
        conf
    }

    /// The names to try, in order: a name with enough dots first as it is, one that ends with a dot only as it is.
    pub fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let searched = self.search.iter().map(|domain| format!("{name}.{}.", domain.trim_end_matches('.')));
        let own = format!("{name}.");
        if name.matches('.').count() >= self.ndots {
            std::iter::once(own).chain(searched).collect()
        } else {
            searched.chain([own]).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Conf;

    #[test]
    fn names_are_tried_as_a_pods_libc_tries_them() {
        let text = "search a.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n";
        let conf = Conf::parse(text);
        assert_eq!(conf.servers.len(), 1);
        assert_eq!(conf.candidates("web"), ["web.a.svc.cluster.local.", "web.svc.cluster.local.", "web."]);
        assert_eq!(conf.candidates("web."), ["web."]);
        assert_eq!(conf.candidates("a.b.c.d.e.f")[0], "a.b.c.d.e.f.");
        assert_eq!(Conf::parse("").candidates("a.b"), ["a.b."]);
    }
}
