//! What a name below the cluster's domain asks for: the grammar of the Kubernetes DNS specification, as CoreDNS reads it.

/// What the labels before the cluster's domain mean. All text is in lower case.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked<'a> {
    /// The domain itself, or `svc` or `pod` alone: exists, with nothing in it.
    Node,
    /// `namespace.svc` or `namespace.pod`.
    Namespace { namespace: &'a str, pods: bool },
    /// `service.namespace.svc`, perhaps below it an endpoint or a port.
    Service { namespace: &'a str, service: &'a str, part: Part<'a> },
    /// `a-b-c-d.namespace.pod`.
    Pod { address: &'a str },
    /// `dns-version`.
    Version,
    /// `ns.dns`: the name server itself.
    NameServer,
    /// No name of the cluster has this form.
    Nothing,
}

/// What stands below a Service's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Nothing: the Service itself.
    All,
    /// `hostname.service...`.
    Endpoint(&'a str),
    /// `_port._protocol.service...`, without the underscores.
    Port(&'a str, &'a str),
}

/// Reads labels, the leftmost first.
pub(crate) fn read<'a>(labels: &[&'a str]) -> Asked<'a> {
    let (last, rest) = match labels {
        [] => return Asked::Node,
        ["dns-version"] => return Asked::Version,
        ["ns", "dns"] => return Asked::NameServer,
        [rest @ .., last] => (*last, rest),
    };
    let pods = match last {
        "svc" => false,
        "pod" => true,
        _ => return Asked::Nothing,
    };
    match *rest {
        [] => Asked::Node,
        [namespace] => Asked::Namespace { namespace, pods },
        [address, _] if pods => Asked::Pod { address },
        _ if pods => Asked::Nothing,
        [service, namespace] => Asked::Service { namespace, service, part: Part::All },
        [endpoint, service, namespace] => Asked::Service { namespace, service, part: Part::Endpoint(endpoint) },
        [port, protocol, service, namespace] => {
            let part = Part::Port(bare(port), bare(protocol));
            Asked::Service { namespace, service, part }
        }
        _ => Asked::Nothing,
    }
}

/// A label without the underscore that marks a port or protocol.
fn bare(label: &str) -> &str {
    label.strip_prefix('_').unwrap_or(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str) -> Asked<'_> {
        read(&name.split('.').filter(|label| !label.is_empty()).collect::<Vec<_>>())
    }

    #[test]
    fn names_are_read_as_coredns_reads_them() {
        assert_eq!(asked(""), Asked::Node);
        assert_eq!(asked("svc"), Asked::Node);
        assert_eq!(asked("shop.svc"), Asked::Namespace { namespace: "shop", pods: false });
        assert_eq!(asked("shop.pod"), Asked::Namespace { namespace: "shop", pods: true });
        let part = |part| Asked::Service { namespace: "shop", service: "web", part };
        assert_eq!(asked("web.shop.svc"), part(Part::All));
        assert_eq!(asked("a.web.shop.svc"), part(Part::Endpoint("a")));
        assert_eq!(asked("_http._tcp.web.shop.svc"), part(Part::Port("http", "tcp")));
        assert_eq!(asked("http.tcp.web.shop.svc"), part(Part::Port("http", "tcp")));
        assert_eq!(asked("10-0-0-1.shop.pod"), Asked::Pod { address: "10-0-0-1" });
        for name in ["a.b.c.web.shop.svc", "shop", "a.b.shop.pod", "example.com", "x.dns-version"] {
            assert_eq!(asked(name), Asked::Nothing, "{name}");
        }
    }
}
