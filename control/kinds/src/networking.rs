//! The kinds of networking.k8s.io.
use crate::kind::{GENERAL, Kind, Subresource};
use crate::labels::format_selector;
use crate::names::NameRule;
use crate::table::{AGE, Column, NAME, age, name, or_none, with_more};
use crate::value::{at, default_to, default_zero, is_empty, items, items_at, object_at, set, strings, text};
use serde_json::{Value, json};

mod address;
mod ingress;
mod policy;

pub(crate) static KINDS: &[Kind] = &[INGRESS, INGRESS_CLASS, NETWORK_POLICY, IP_ADDRESS, SERVICE_CIDR];

const NETWORKING: Kind = Kind { group: "networking.k8s.io", ..GENERAL };

const INGRESS: Kind = Kind {
    kind: "Ingress",
    status: true,
    generation: true,
    prepare_create: |ingress| set(ingress, "status", json!({"loadBalancer": {}})),
    validate: ingress::create,
    validate_update: |new, old, subresource, errors| match subresource {
        Subresource::Status => ingress::status(new, errors),
        _ => ingress::spec(&new["spec"], Some(&old["spec"]), errors),
    },
    columns: &[
        NAME,
        Column::text("Class", "The name of the IngressClass resource that should be used for additional configuration"),
        Column::text("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
        Column::text("Address", "Address is a list containing ingress points for the load-balancer"),
        Column::text("Ports", "Ports of TLS configurations that open"),
        AGE,
    ],
    cells: |ingress, now| {
        let spec = &ingress["spec"];
        let rules = items(&spec["rules"]).iter().map(|rule| text(&rule["host"]).to_owned());
        let hosts: Vec<String> = rules.filter(|host| !host.is_empty()).collect();
        let points: std::collections::BTreeSet<&str> = items(&ingress["status"]["loadBalancer"]["ingress"])
            .iter()
            .filter_map(|point| [&point["ip"], &point["hostname"]].map(text).into_iter().find(|s| !s.is_empty()))
            .collect();
        vec![
            name(ingress),
            spec["ingressClassName"].as_str().unwrap_or("<none>").into(),
            if hosts.is_empty() { "*".into() } else { with_more(&hosts, 3).into() },
            points.into_iter().collect::<Vec<_>>().join(",").into(),
            if is_empty(&spec["tls"]) { "80".into() } else { "80, 443".into() },
            age(ingress, now),
        ]
    },
    ..NETWORKING
};

const INGRESS_CLASS: Kind = Kind {
    kind: "IngressClass",
    namespaced: false,
    generation: true,
    defaults: |_, class| {
        if let Some(parameters) = at(class, &["spec", "parameters"]) {
            default_to(parameters, "scope", "Cluster");
        }
    },
    validate: ingress::class,
    validate_update: |new, old, _, errors| ingress::class_update(new, old, errors),
    columns: &[
        NAME,
        Column::text("Controller", "Controller that is responsible for handling this class"),
        Column::text("Parameters", "A reference to a resource with additional parameters"),
        AGE,
    ],
    cells: |class, now| {
        let default = &class["metadata"]["annotations"]["ingressclass.kubernetes.io/is-default-class"];
        let suffix = if text(default) == "true" { " (default)" } else { "" };
        let parameters = &class["spec"]["parameters"];
        let group = text(&parameters["apiGroup"]);
        let dot = if group.is_empty() { "" } else { "." };
        let shown = match parameters {
            Value::Null => "<none>".to_owned(),
            _ => format!("{}{dot}{group}/{}", text(&parameters["kind"]), text(&parameters["name"])),
        };
        vec![
            format!("{}{suffix}", text(&class["metadata"]["name"])).into(),
            text(&class["spec"]["controller"]).into(),
            shown.into(),
            age(class, now),
        ]
    },
    ..NETWORKING
};

const NETWORK_POLICY: Kind = Kind {
    kind: "NetworkPolicy",
    generation: true,
    defaults: |_, policy| {
        object_at(policy, "spec");
        let Some(spec) = at(policy, &["spec"]) else { return };
        object_at(spec, "podSelector");
        let egress = !is_empty(&spec["egress"]);
        default_zero(spec, "policyTypes", if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
        for direction in ["ingress", "egress"] {
            for rule in items_at(spec, &[direction]) {
                items_at(rule, &["ports"]).iter_mut().for_each(|port| default_to(port, "protocol", "TCP"));
            }
        }
    },
    validate: |policy, errors| policy::spec(&policy["spec"], None, errors),
    validate_update: |new, old, _, errors| policy::spec(&new["spec"], Some(&old["spec"]), errors),
    columns: &[
        NAME,
        Column::text(
            "Pod-Selector",
            "podSelector selects the pods to which this NetworkPolicy object applies. The array of rules is applied to any pods selected by this field. An empty selector matches all pods in the policy's namespace. Multiple network policies can select the same set of pods. In this case, the ingress rules for each are combined additively. This field is optional. If it is not specified, it defaults to an empty selector.",
        ),
        AGE,
    ],
    cells: |policy, now| {
        let selector = &policy["spec"]["podSelector"];
        vec![name(policy), or_none(&format_selector(selector)), age(policy, now)]
    },
    ..NETWORKING
};

const IP_ADDRESS: Kind = Kind {
    kind: "IPAddress",
    namespaced: false,
    name: NameRule::IpAddress,
    validate: address::address,
    validate_update: |new, old, _, errors| address::address_update(new, old, errors),
    columns: &[
        NAME,
        Column::text(
            "ParentRef",
            "ParentRef references the resource that an IPAddress is attached to. An IPAddress must reference a parent object.",
        ),
    ],
    cells: |address, _| {
        let parent = &address["spec"]["parentRef"];
        let parts = ["resource", "group", "namespace", "name"].map(|member| text(&parent[member]));
        let [resource, group, namespace, target] = parts;
        let resource = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let whole = [resource.as_str(), namespace, target].into_iter().filter(|part| !part.is_empty());
        vec![name(address), or_none(&whole.collect::<Vec<_>>().join("/"))]
    },
    ..NETWORKING
};

const SERVICE_CIDR: Kind = Kind {
    kind: "ServiceCIDR",
    namespaced: false,
    status: true,
    status_keeps_metadata: true,
    prepare_create: |cidr| set(cidr, "status", json!({})),
    validate: address::cidrs,
    validate_update: |new, old, subresource, errors| {
        if subresource != Subresource::Status {
            address::cidrs_update(new, old, errors);
        }
    },
    columns: &[
        NAME,
        Column::text(
            "CIDRs",
            "CIDRs defines the IP blocks in CIDR notation (e.g. \"192.168.0.0/24\" or \"2001:db8::/64\") from which to assign service cluster IPs. Max of two CIDRs is allowed, one of each IP family. This field is immutable.",
        ),
        AGE,
    ],
    cells: |cidr, now| vec![name(cidr), strings(&cidr["spec"]["cidrs"]).join(",").into(), age(cidr, now)],
    ..NETWORKING
};
