//! What CoreDNS' own tests of the `kubernetes` plugin assert, on the same cluster; then what they leave out.

mod properties;

use std::collections::HashSet;

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::{Name, Record, RecordType};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use super::{Answer, Reply, answer};
use crate::{Table, Zone};

fn service(namespace: &str, name: &str, spec: Value) -> Service {
    let object = json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

fn slice(namespace: &str, of: &str, name: &str, kind: &str, ports: Value, endpoints: Value) -> EndpointSlice {
    let labels = json!({"kubernetes.io/service-name": of});
    let object = json!({
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "addressType": kind, "ports": ports, "endpoints": endpoints,
    });
    serde_json::from_value(object).unwrap()
}

fn endpoints(addresses: &[(&str, Option<&str>)]) -> Value {
    addresses.iter().map(|(ip, hostname)| json!({"addresses": [ip], "hostname": hostname})).collect()
}

fn complete(table: &mut Table) {
    let everything = |keys: Vec<String>| keys.into_iter().collect::<HashSet<_>>();
    let (services, slices) = table.keys();
    table.services_listed(&everything(services));
    table.slices_listed(&everything(slices));
}

fn cluster() -> Table {
    let mut table = Table::new(1_499_347_823);
    let http = json!([{"name": "http", "protocol": "TCP", "port": 80}]);
    for (name, spec) in [
        ("svc1", json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": http})),
        ("svcempty", json!({"clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"], "ports": http})),
        ("svc6", json!({"clusterIPs": ["1234:abcd::1"], "ports": http})),
        ("svc-dual-stack", json!({"clusterIPs": ["10.0.0.3", "10::3"], "ports": http})),
        ("hdls1", json!({"clusterIP": "None", "clusterIPs": ["None"]})),
        ("hdlsprtls", json!({"clusterIP": "None"})),
        ("hdlsempty", json!({"clusterIP": "None"})),
        ("external", json!({"type": "ExternalName", "externalName": "ext.interwebs.test", "ports": http})),
        ("external-to-service", json!({"type": "ExternalName", "externalName": "svc1.testns.svc.cluster.local."})),
        ("external-to-nothing", json!({"type": "ExternalName", "externalName": "svc0.testns.svc.cluster.local"})),
        ("external-to-address", json!({"type": "ExternalName", "externalName": "192.0.2.1"})),
        ("circle-a", json!({"type": "ExternalName", "externalName": "circle-b.testns.svc.cluster.local"})),
        ("circle-b", json!({"type": "ExternalName", "externalName": "circle-a.testns.svc.cluster.local"})),
    ] {
        table.upsert_service(&service("testns", name, spec));
    }
    let four =
        [("172.0.0.2", None), ("172.0.0.3", None), ("172.0.0.4", Some("dup-name")), ("172.0.0.5", Some("dup-name"))];
    let six = [("5678:abcd::1", None), ("5678:abcd::2", None)];
    table.upsert_slice(&slice(
        "testns",
        "svc1",
        "svc1-1",
        "IPv4",
        http.clone(),
        endpoints(&[("172.0.0.1", Some("ep1a"))]),
    ));
    table.upsert_slice(&slice("testns", "svcempty", "svcempty-1", "IPv4", http.clone(), json!([])));
    table.upsert_slice(&slice("testns", "hdls1", "hdls1-4", "IPv4", http.clone(), endpoints(&four)));
    table.upsert_slice(&slice("testns", "hdls1", "hdls1-6", "IPv6", http, endpoints(&six)));
    table.upsert_slice(&slice(
        "testns",
        "hdlsprtls",
        "portless",
        "IPv4",
        json!([]),
        endpoints(&[("172.0.0.20", None)]),
    ));
    let dns = json!([{"name": "dns", "protocol": "UDP", "port": 53}]);
    table.upsert_service(&service("kube-system", "kube-dns", json!({"clusterIPs": ["10.0.0.10"], "ports": dns})));
    let ports = json!([{"name": "dns", "protocol": "UDP", "port": 10053}]);
    table.upsert_slice(&slice(
        "kube-system",
        "kube-dns",
        "kube-dns-1",
        "IPv4",
        ports,
        endpoints(&[("192.0.2.11", None)]),
    ));
    complete(&mut table);
    table
}

fn zone() -> Zone {
    Zone::new("cluster.local", 30, vec!["192.0.2.11:10053".parse().unwrap()]).unwrap()
}

fn ask(table: &Table, name: &str, kind: RecordType) -> Answer {
    answer(table, &zone(), &Query::query(Name::from_ascii(name).unwrap(), kind), 0)
}

fn reply(name: &str, kind: RecordType) -> Reply {
    match ask(&cluster(), name, kind) {
        Answer::Reply(reply) => reply,
        other => panic!("{name} {kind}: {other:?}"),
    }
}

fn texts(records: &[Record]) -> Vec<String> {
    let mut texts: Vec<String> = records.iter().map(ToString::to_string).collect();
    texts.sort();
    texts
}

/// The answers, sorted; there must be some, with no word of authority beside them.
fn answers(name: &str, kind: RecordType) -> Vec<String> {
    let reply = reply(name, kind);
    assert_eq!((reply.code, reply.authorities), (ResponseCode::NoError, vec![]), "{name} {kind}");
    texts(&reply.answers)
}

/// Neither answers nor a doubt: the zone's SOA tells how long that holds.
fn nothing(name: &str, kind: RecordType) -> ResponseCode {
    let reply = reply(name, kind);
    let [soa] = &reply.authorities[..] else { panic!("{name} {kind}: {reply:?}") };
    let text = soa.to_string().to_lowercase();
    assert!(text.starts_with("cluster.local. 30 in soa ns.dns.cluster.local. hostmaster.cluster.local. "), "{text}");
    assert!(text.ends_with(" 7200 1800 86400 30"), "{text}");
    assert_eq!(reply.answers, []);
    reply.code
}

const DENIED: ResponseCode = ResponseCode::NXDomain;
const EMPTY: ResponseCode = ResponseCode::NoError;

#[test]
fn a_service_has_its_cluster_ips() {
    assert_eq!(
        answers("svc1.testns.svc.cluster.local.", RecordType::A),
        ["svc1.testns.svc.cluster.local. 30 IN A 10.0.0.1"]
    );
    assert_eq!(answers("svcempty.testns.svc.cluster.local.", RecordType::A).len(), 1);
    assert_eq!(nothing("svc1.testns.svc.cluster.local.", RecordType::AAAA), EMPTY);
    assert_eq!(
        answers("svc-dual-stack.testns.svc.cluster.local.", RecordType::AAAA),
        ["svc-dual-stack.testns.svc.cluster.local. 30 IN AAAA 10::3"]
    );
    assert_eq!(answers("svc-dual-stack.testns.svc.cluster.local.", RecordType::A).len(), 1);
    assert_eq!(answers("_http._tcp.svc1.testns.svc.cluster.local.", RecordType::A).len(), 1);
}

#[test]
fn what_is_not_there_is_denied_and_what_lies_between_is_empty() {
    for name in [
        "svc0.testns",
        "svc0.svc-nons",
        "bogusendpoint.hdls1.testns",
        "bogusendpoint.svc0.testns",
        "*.testns",
        "a.b.c.d.testns",
    ] {
        for kind in
            [RecordType::A, RecordType::AAAA, RecordType::TXT, RecordType::SRV, RecordType::NS, RecordType::HINFO]
        {
            assert_eq!(nothing(&format!("{name}.svc.cluster.local."), kind), DENIED, "{name} {kind}");
        }
    }
    for name in [
        "cluster.local.",
        "svc.cluster.local.",
        "pod.cluster.local.",
        "testns.svc.cluster.local.",
        "testns.pod.cluster.local.",
    ] {
        assert_eq!(nothing(name, RecordType::A), EMPTY, "{name}");
        assert_eq!(nothing(name, RecordType::TXT), EMPTY, "{name}");
    }
    for name in ["foo.cluster.local.", "foo.svc.cluster.local.", "example.org.cluster.local."] {
        assert_eq!(nothing(name, RecordType::NS), DENIED, "{name}");
    }
    assert_eq!(nothing("_http._udp.svc1.testns.svc.cluster.local.", RecordType::SRV), DENIED);
    assert_eq!(nothing("svc1.testns.svc.cluster.local.", RecordType::SOA), EMPTY);
    assert_eq!(nothing("svc1.testns.svc.cluster.local.", RecordType::TXT), EMPTY);
    assert_eq!(nothing("svc1.testns.svc.cluster.local.", RecordType::PTR), EMPTY);
    assert_eq!(nothing("svc1.testns.svc.cluster.local.", RecordType::ANY), EMPTY);
}

#[test]
fn a_headless_service_has_its_ready_endpoints() {
    let name = "hdls1.testns.svc.cluster.local.";
    let of = |last: u8| format!("{name} 30 IN A 172.0.0.{last}");
    assert_eq!(answers(name, RecordType::A), [of(2), of(3), of(4), of(5)]);
    assert_eq!(answers(name, RecordType::AAAA).len(), 2);
    assert_eq!(answers("hdlsprtls.testns.svc.cluster.local.", RecordType::A).len(), 1);
    assert_eq!(nothing("hdlsempty.testns.svc.cluster.local.", RecordType::A), DENIED);
    assert_eq!(nothing("hdlsprtls.testns.svc.cluster.local.", RecordType::SRV), EMPTY);
}

#[test]
fn an_endpoint_has_a_name_by_its_hostname_or_its_address() {
    let by = |label: &str, kind| answers(&format!("{label}.hdls1.testns.svc.cluster.local."), kind);
    assert_eq!(by("172-0-0-2", RecordType::A), ["172-0-0-2.hdls1.testns.svc.cluster.local. 30 IN A 172.0.0.2"]);
    assert_eq!(by("dup-name", RecordType::A).len(), 2);
    assert_eq!(by("5678-abcd--2", RecordType::AAAA).len(), 1);
    assert_eq!(nothing("172-0-0-4.hdls1.testns.svc.cluster.local.", RecordType::A), DENIED, "its hostname is its name");
    assert_eq!(
        answers("ep1a.svc1.testns.svc.cluster.local.", RecordType::A),
        ["ep1a.svc1.testns.svc.cluster.local. 30 IN A 172.0.0.1"]
    );
    assert_eq!(answers("172-0-0-20.hdlsprtls.testns.svc.cluster.local.", RecordType::A).len(), 1);
}

#[test]
fn srv_records_tell_ports_and_targets_and_their_addresses() {
    let asked = reply("_http._tcp.svc1.testns.svc.cluster.local.", RecordType::SRV);
    assert_eq!(
        texts(&asked.answers),
        ["_http._tcp.svc1.testns.svc.cluster.local. 30 IN SRV 0 100 80 svc1.testns.svc.cluster.local."]
    );
    assert_eq!(texts(&asked.additionals), ["svc1.testns.svc.cluster.local. 30 IN A 10.0.0.1"]);
    let asked = reply("svc-dual-stack.testns.svc.cluster.local.", RecordType::SRV);
    assert_eq!(
        texts(&asked.answers),
        ["svc-dual-stack.testns.svc.cluster.local. 30 IN SRV 0 50 80 svc-dual-stack.testns.svc.cluster.local."]
    );
    assert_eq!(asked.additionals.len(), 2);
    let asked = reply("_http._tcp.hdls1.testns.svc.cluster.local.", RecordType::SRV);
    let target = |label: &str| {
        format!("_http._tcp.hdls1.testns.svc.cluster.local. 30 IN SRV 0 16 80 {label}.hdls1.testns.svc.cluster.local.")
    };
    let labels = ["172-0-0-2", "172-0-0-3", "5678-abcd--1", "5678-abcd--2", "dup-name"];
    assert_eq!(texts(&asked.answers), labels.map(target));
    assert_eq!(asked.additionals.len(), 6);
    assert_eq!(nothing("external.testns.svc.cluster.local.", RecordType::SRV), EMPTY);
}

#[test]
fn an_external_name_is_an_alias() {
    let cname = "external.testns.svc.cluster.local. 30 IN CNAME ext.interwebs.test.";
    assert_eq!(answers("external.testns.svc.cluster.local.", RecordType::CNAME), [cname]);
    let Answer::Chase { records, target } = ask(&cluster(), "external.testns.svc.cluster.local.", RecordType::A) else {
        panic!("it leads out of the cluster")
    };
    assert_eq!((texts(&records), target.to_string()), (vec![cname.to_owned()], "ext.interwebs.test.".to_owned()));
    let chain = reply("external-to-service.testns.svc.cluster.local.", RecordType::A);
    let chain: Vec<String> = chain.answers.iter().map(ToString::to_string).collect();
    assert_eq!(
        chain,
        [
            "external-to-service.testns.svc.cluster.local. 30 IN CNAME svc1.testns.svc.cluster.local.",
            "svc1.testns.svc.cluster.local. 30 IN A 10.0.0.1",
        ]
    );
    let broken = reply("external-to-nothing.testns.svc.cluster.local.", RecordType::A);
    assert_eq!((broken.code, broken.answers.len(), broken.authorities.len()), (DENIED, 1, 1));
    let circle = reply("circle-a.testns.svc.cluster.local.", RecordType::A);
    assert_eq!((circle.code, circle.authorities.len()), (EMPTY, 1));
    assert_eq!(nothing("external-to-address.testns.svc.cluster.local.", RecordType::A), DENIED);
    for below in ["endpoint.external", "_http._tcp.external", "subdomain.subdomain.external"] {
        assert_eq!(nothing(&format!("{below}.testns.svc.cluster.local."), RecordType::CNAME), DENIED, "{below}");
    }
}

#[test]
fn a_pods_name_tells_its_address() {
    assert_eq!(
        answers("10-240-0-1.podns.pod.cluster.local.", RecordType::A),
        ["10-240-0-1.podns.pod.cluster.local. 30 IN A 10.240.0.1"]
    );
    assert_eq!(answers("fd00--a.podns.pod.cluster.local.", RecordType::AAAA).len(), 1);
    assert_eq!(nothing("10-240-0-1.podns.pod.cluster.local.", RecordType::AAAA), EMPTY);
    for label in ["blah", "10-240-0", "10-240-0-256", "1-2-3-4-5"] {
        assert_eq!(nothing(&format!("{label}.podns.pod.cluster.local."), RecordType::A), DENIED, "{label}");
    }
}

#[test]
fn addresses_have_names() {
    assert_eq!(
        answers("1.0.0.10.in-addr.arpa.", RecordType::PTR),
        ["1.0.0.10.in-addr.arpa. 30 IN PTR svc1.testns.svc.cluster.local."]
    );
    assert_eq!(
        answers("2.0.0.172.in-addr.arpa.", RecordType::PTR),
        ["2.0.0.172.in-addr.arpa. 30 IN PTR 172-0-0-2.hdls1.testns.svc.cluster.local."]
    );
    let six = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.c.b.a.8.7.6.5.ip6.arpa.";
    assert_eq!(
        answers(six, RecordType::PTR),
        [format!("{six} 30 IN PTR 5678-abcd--1.hdls1.testns.svc.cluster.local.")]
    );
    let mut table = cluster();
    let also = endpoints(&[("172.0.0.4", Some("double-ep"))]);
    table.upsert_slice(&slice("testns", "svc1", "svc1-2", "IPv4", json!([]), also));
    let Answer::Reply(two) = ask(&table, "4.0.0.172.in-addr.arpa.", RecordType::PTR) else { panic!("not ours") };
    assert_eq!(two.answers.len(), 2, "of two Services");
    for (name, kind) in [
        ("101.0.0.10.in-addr.arpa.", RecordType::PTR),
        ("0.0.10.in-addr.arpa.", RecordType::PTR),
        ("1.0.0.10.in-addr.arpa.", RecordType::A),
        ("svc1.testns.svc.0.10.in-addr.arpa.", RecordType::A),
    ] {
        assert_eq!(ask(&cluster(), name, kind), Answer::Forward, "{name}");
    }
}

#[test]
fn the_zone_tells_of_itself() {
    let version = "dns-version.cluster.local. 28800 IN TXT 1.1.0";
    assert_eq!(answers("dns-version.cluster.local.", RecordType::TXT), [version]);
    assert_eq!(nothing("dns-version.cluster.local.", RecordType::A), DENIED);
    assert_eq!(answers("cluster.local.", RecordType::SOA).len(), 1);
    assert_eq!(
        answers("cluster.local.", RecordType::NS),
        ["cluster.local. 30 IN NS kube-dns.kube-system.svc.cluster.local."]
    );
    assert_eq!(answers("ns.dns.cluster.local.", RecordType::A), ["ns.dns.cluster.local. 30 IN A 10.0.0.10"]);
    let mut alone = Table::new(1);
    complete(&mut alone);
    let Answer::Reply(own) = ask(&alone, "cluster.local.", RecordType::NS) else { panic!("not ours") };
    assert_eq!(texts(&own.additionals), ["ns.dns.cluster.local. 30 IN A 192.0.2.11"]);
}

#[test]
fn the_case_of_a_question_is_kept_and_does_not_matter() {
    assert_eq!(
        answers("SVC1.TestNS.svc.Cluster.LOCAL.", RecordType::A),
        ["SVC1.TestNS.svc.Cluster.LOCAL. 30 IN A 10.0.0.1"]
    );
    let asked = reply("_HTTP._tcp.svc1.testns.SVC.cluster.LOCAL.", RecordType::SRV);
    assert_eq!(
        texts(&asked.answers),
        ["_HTTP._tcp.svc1.testns.SVC.cluster.LOCAL. 30 IN SRV 0 100 80 svc1.testns.svc.cluster.LOCAL."]
    );
    assert_eq!(answers("DUP-name.hdls1.testns.svc.cluster.local.", RecordType::A).len(), 2);
}

#[test]
fn other_names_and_transfers_are_not_ours() {
    assert_eq!(ask(&cluster(), "example.com.", RecordType::A), Answer::Forward);
    assert_eq!(ask(&cluster(), ".", RecordType::NS), Answer::Forward);
    assert_eq!(ask(&cluster(), "notcluster.local.", RecordType::A), Answer::Forward);
    assert_eq!(reply("cluster.local.", RecordType::AXFR).code, ResponseCode::Refused);
}

#[test]
fn nobody_is_denied_before_the_first_complete_list() {
    let mut table = Table::new(1);
    let code = |table: &Table| match ask(table, "svc1.testns.svc.cluster.local.", RecordType::A) {
        Answer::Reply(reply) => (reply.code, reply.answers.len()),
        other => panic!("{other:?}"),
    };
    table.upsert_service(&service("testns", "svc1", json!({"clusterIPs": ["10.0.0.1"], "ports": [{"port": 80}]})));
    assert_eq!(code(&table), (ResponseCode::ServFail, 0));
    table.services_listed(&HashSet::from(["testns/svc1".to_owned()]));
    assert_eq!(code(&table), (ResponseCode::ServFail, 0));
    table.slices_listed(&HashSet::new());
    assert_eq!(code(&table), (ResponseCode::NoError, 1));
    table.services_listed(&HashSet::new());
    assert_eq!(code(&table).0, DENIED, "a later list did not bring it");
}

#[test]
fn the_turn_decides_which_address_comes_first() {
    let name = Name::from_ascii("hdls1.testns.svc.cluster.local.").unwrap();
    let first = |turn| match answer(&cluster(), &zone(), &Query::query(name.clone(), RecordType::A), turn) {
        Answer::Reply(reply) => reply.answers[0].to_string(),
        other => panic!("{other:?}"),
    };
    let all: HashSet<String> = (0..4).map(first).collect();
    assert_eq!(all.len(), 4);
}

#[test]
fn endpoints_that_are_not_ready_have_no_address() {
    let mut table = cluster();
    let some = json!([
        {"addresses": ["172.0.0.30"], "conditions": {"ready": true}},
        {"addresses": ["172.0.0.31"], "conditions": {"ready": false, "serving": true, "terminating": true}},
        {"addresses": ["172.0.0.32"], "conditions": {}},
    ]);
    table.upsert_slice(&slice("testns", "hdlsempty", "hdlsempty-1", "IPv4", json!([]), some));
    let Answer::Reply(found) = ask(&table, "hdlsempty.testns.svc.cluster.local.", RecordType::A) else {
        panic!("not ours")
    };
    assert_eq!(found.answers.len(), 2);
    assert_eq!(ask(&table, "31.0.0.172.in-addr.arpa.", RecordType::PTR), Answer::Forward);
    table.remove_slice("testns", "hdlsempty-1");
    assert_eq!(ask(&table, "30.0.0.172.in-addr.arpa.", RecordType::PTR), Answer::Forward);
}
