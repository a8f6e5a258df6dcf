//! EndpointSlice.
use super::*;

const ADDRESS_TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];

pub(super) const KIND: Kind = Kind {
    group: "discovery.k8s.io",
    kind: "EndpointSlice",
    generation: true,
    defaults: |_, slice| {
        null_list(slice, "endpoints");
        null_list(slice, "ports");
        for endpoint in items_at(slice, &["endpoints"]) {
            object_at(endpoint, "conditions");
            for hint in ["forZones", "forNodes"] {
                let hints = items_at(endpoint, &["hints", hint]);
                hints.iter_mut().for_each(|hint| default_to(hint, "name", ""));
            }
        }
        for port in items_at(slice, &["ports"]) {
            default_to(port, "name", "");
            default_to(port, "protocol", "TCP");
        }
    },
    prepare_create: |slice| drop_topology(slice, &Value::Null),
    prepare_update,
    validate: |slice, errors| validate(slice, &Value::Null, errors),
    validate_update: |new, old, _, errors| {
        validate(new, old, errors);
        immutable_text(&new["addressType"], &old["addressType"], &Path::new("addressType"), errors);
    },
    columns: &[
        NAME,
        Column::text("AddressType", "The kind of addresses."),
        Column::text("Ports", "The ports, three at most."),
        Column::text("Endpoints", "The addresses, three at most."),
        AGE,
    ],
    cells,
    ..GENERAL
};

/// `deprecatedTopology` cannot be written through v1; what was there stays while the endpoints are as they were.
fn drop_topology(new: &mut Value, old: &Value) {
    if !same(&new["endpoints"], &old["endpoints"]) {
        for endpoint in items_at(new, &["endpoints"]) {
            remove(endpoint, "deprecatedTopology");
        }
    }
}

/// Labels count for the generation: the proxies select by them.
fn prepare_update(new: &mut Value, old: &Value, _: Subresource) {
    drop_topology(new, old);
    if let Some(meta) = at(new, &["metadata"])
        && !same(&meta["labels"], &old["metadata"]["labels"])
    {
        set(meta, "generation", int(&old["metadata"]["generation"]) + 1);
    }
}

fn validate(slice: &Value, old: &Value, errors: &mut Errors) {
    let kind = text(&slice["addressType"]);
    if kind.is_empty() {
        errors.required(&Path::new("addressType"), "");
    } else if !ADDRESS_TYPES.contains(&kind) {
        errors.not_supported(&Path::new("addressType"), kind, ADDRESS_TYPES);
    }
    validate_ports(items(&slice["ports"]), &Path::new("ports"), errors);
    if old.is_null() || !same(&slice["endpoints"], &old["endpoints"]) {
        validate_endpoints(items(&slice["endpoints"]), kind, &Path::new("endpoints"), errors);
    }
}

fn validate_ports(ports: &[Value], path: &Path<'_>, errors: &mut Errors) {
    if ports.len() > 20_000 {
        return errors.too_many(path, ports.len(), 20_000);
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let (path, name) = (path.index(index), text(&port["name"]));
        if !name.is_empty() {
            errors.invalid_each(&path.child("name"), name, names::dns1123_label(name));
        }
        if !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        if port["protocol"].is_null() {
            errors.required(&path.child("protocol"), "");
        } else {
            validate_protocol(port, &path, errors);
        }
        validate_app_protocol(port, &path, errors);
    }
}

fn validate_endpoints(endpoints: &[Value], kind: &str, path: &Path<'_>, errors: &mut Errors) {
    if endpoints.len() > 1000 {
        return errors.too_many(path, endpoints.len(), 1000);
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let path = path.index(index);
        let (addresses, path_addresses) = (strings(&endpoint["addresses"]), path.child("addresses"));
        match addresses.len() {
            0 => errors.required(&path_addresses, "must contain at least 1 address"),
            1..=100 => {}
            many => errors.too_many(&path_addresses, many, 100),
        }
        for (index, address) in addresses.into_iter().enumerate() {
            validate_one(address, kind, &path_addresses.index(index), &path_addresses, errors);
        }
        if let Some(node) = endpoint["nodeName"].as_str() {
            errors.invalid_each(&path.child("nodeName"), node, names::dns1123_subdomain(node));
        }
        let topology = path.child("deprecatedTopology");
        crate::labels::validate_labels(&endpoint["deprecatedTopology"], &topology, errors);
        if let Some(host) = endpoint["hostname"].as_str() {
            errors.invalid_each(&path.child("hostname"), host, names::dns1123_label(host));
        }
        validate_hints(&endpoint["hints"], &path.child("hints"), errors);
    }
}

fn validate_one(address: &str, kind: &str, path: &Path<'_>, list: &Path<'_>, errors: &mut Errors) {
    match kind {
        "IPv4" | "IPv6" => {
            let Some(ip) = validate_ip(address, path, errors) else { return };
            if ip.is_ipv4() != (kind == "IPv4") {
                errors.invalid(list, address, format!("must be an {kind} address"));
            } else if ip.is_ipv6() && ip.to_string() != address {
                errors.invalid(path, address, format!("must be in canonical form (\"{ip}\")"));
                return;
            }
            validate_endpoint_ip(address, path, errors);
        }
        "FQDN" => {
            let domain = address.strip_suffix('.').unwrap_or(address);
            let wrong = names::dns1123_subdomain(domain);
            if address.is_empty() {
                errors.required(path, "");
            } else if !wrong.is_empty() {
                errors.invalid(path, domain, wrong.join(","));
            } else if !domain.contains('.') {
                errors.invalid(path, domain, "should be a domain with at least two segments separated by dots");
            }
        }
        _ => {}
    }
}

fn validate_hints(hints: &Value, path: &Path<'_>, errors: &mut Errors) {
    for list in ["forZones", "forNodes"] {
        let (entries, path) = (items(&hints[list]), path.child(list));
        if entries.len() > 8 {
            return errors.too_many(&path, entries.len(), 8);
        }
        let mut seen = BTreeSet::new();
        for (index, entry) in entries.iter().enumerate() {
            let (path, name) = (path.index(index), text(&entry["name"]));
            if !seen.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
            let wrong = if list == "forZones" { names::label_value(name) } else { names::dns1123_subdomain(name) };
            errors.invalid_each(&path.child("name"), name, wrong);
        }
    }
}

fn cells(slice: &Value, now: Timestamp) -> Vec<Value> {
    let or_unset = |shown: String| if shown.is_empty() { "<unset>".to_owned() } else { shown };
    let ports: Vec<String> = items(&slice["ports"])
        .iter()
        .map(|port| match (port["port"].as_i64(), port["name"].as_str()) {
            (Some(number), _) => number.to_string(),
            (None, Some(name)) => name.to_owned(),
            (None, None) => "*".to_owned(),
        })
        .collect();
    let endpoints: Vec<String> = items(&slice["endpoints"])
        .iter()
        .flat_map(|endpoint| strings(&endpoint["addresses"]))
        .map(str::to_owned)
        .collect();
    vec![
        name(slice),
        text(&slice["addressType"]).into(),
        or_unset(with_more(&ports, 3)).into(),
        or_unset(with_more(&endpoints, 3)).into(),
        age(slice, now),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;
    use serde_json::json;

    fn slice(kind: &str, addresses: Value) -> Value {
        let mut object = json!({"metadata": {"name": "s", "namespace": "n", "resourceVersion": "1"}, "addressType": kind,
            "ports": [{"port": 80}], "endpoints": [{"addresses": addresses}]});
        crate::kind("discovery.k8s.io", "EndpointSlice").default("v1", &mut object);
        object
    }

    #[test]
    fn addresses_are_of_their_type() {
        let rules = kind("discovery.k8s.io", "EndpointSlice");
        for (kind, addresses, message) in [
            ("IPv4", json!(["10.0.0.1"]), "[]"),
            ("FQDN", json!(["a.example.com"]), "[]"),
            ("IPv4", json!(["fd00::1"]), "endpoints[0].addresses: Invalid value: \"fd00::1\": must be an IPv4 address"),
            (
                "IPv6",
                json!(["FD00::1"]),
                "endpoints[0].addresses[0]: Invalid value: \"FD00::1\": must be in canonical form (\"fd00::1\")",
            ),
            (
                "FQDN",
                json!(["local"]),
                "endpoints[0].addresses[0]: Invalid value: \"local\": should be a domain with at least two segments separated by dots",
            ),
            ("IPv4", json!([]), "endpoints[0].addresses: Required value: must contain at least 1 address"),
            (
                "IP",
                json!(["x"]),
                "addressType: Unsupported value: \"IP\": supported values: \"FQDN\", \"IPv4\", \"IPv6\"",
            ),
        ] {
            assert_eq!(rules.validate_create(&slice(kind, addresses)).message(), message);
        }
    }

    #[test]
    fn the_type_stays_and_labels_move_the_generation() {
        let rules = kind("discovery.k8s.io", "EndpointSlice");
        let mut old = slice("IPv4", json!(["10.0.0.1"]));
        rules.prepare_create(&mut old);
        let mut new = old.clone();
        new["metadata"]["labels"] = json!({"a": "b"});
        rules.prepare_update(&mut new, &old, Subresource::None);
        assert_eq!(new["metadata"]["generation"], 2);
        new["addressType"] = "IPv6".into();
        assert!(
            rules
                .validate_update(&new, &old, Subresource::None)
                .message()
                .contains("addressType: Invalid value: \"IPv6\": field is immutable")
        );
    }

    #[test]
    fn rows_show_three_of_each() {
        let object = slice("IPv4", json!(["1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"]));
        assert_eq!(
            cells(&object, Timestamp::UNIX_EPOCH)[1..4],
            [json!("IPv4"), json!("80"), json!("1.1.1.1,2.2.2.2,3.3.3.3 + 1 more...")]
        );
        assert_eq!(cells(&json!({}), Timestamp::UNIX_EPOCH)[2..4], [json!("<unset>"), json!("<unset>")]);
    }
}
