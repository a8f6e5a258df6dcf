//! Over the wire, on loopback: a server with a cluster, an upstream that the test plays, and clients of both transports.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::upstream::Upstream;
use crate::{Config, Dns};

const PATIENCE: Duration = Duration::from_secs(10);

/// A server on loopback; it stops with this.
struct Bed {
    dns: Arc<Dns>,
    address: SocketAddr,
    stop: CancellationToken,
    _conf: tempfile::NamedTempFile,
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn free_address() -> SocketAddr {
    // A port that is free for both transports.
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).await.is_ok() {
            return address;
        }
    }
}

async fn bed(upstream: Option<SocketAddr>) -> Bed {
    bed_at(free_address().await, upstream, |_| ()).await
}

async fn bed_at(address: SocketAddr, upstream: Option<SocketAddr>, change: impl FnOnce(&mut Config)) -> Bed {
    let conf = tempfile::NamedTempFile::new().unwrap();
    if let Some(upstream) = upstream {
        std::fs::write(conf.path(), format!("nameserver {}\n", upstream.ip())).unwrap();
    }
    let mut config = Config { resolv_conf: conf.path().to_owned(), ..Config::new(vec![address]) };
    change(&mut config);
    let port = upstream.map_or(53, |upstream| upstream.port());
    let upstream = Upstream::at_port(config.resolv_conf.clone(), config.max_concurrent, port);
    let dns = Dns::with_upstream(config, upstream).unwrap();
    let stop = CancellationToken::new();
    let sockets = dns.bind().await.unwrap();
    tokio::spawn(sockets.serve(stop.clone()));
    Bed { dns, address, stop, _conf: conf }
}

/// 100 endpoints behind `big`, one address for `web`, an alias out of the cluster.
fn fill(dns: &Dns) {
    let service = |name: &str, spec: serde_json::Value| {
        serde_json::from_value(json!({"metadata": {"namespace": "shop", "name": name}, "spec": spec})).unwrap()
    };
    let endpoints: Vec<_> = (1..=100).map(|n| json!({"addresses": [format!("10.244.0.{n}")]})).collect();
    let slice = json!({
        "metadata": {"namespace": "shop", "name": "big-1", "labels": {"kubernetes.io/service-name": "big"}},
        "addressType": "IPv4", "ports": [], "endpoints": endpoints,
    });
    dns.update(|table| {
        let port = json!([{"name": "http", "port": 80}]);
        table.upsert_service(&service("web", json!({"clusterIPs": ["10.96.0.7"], "ports": port})));
        table.upsert_service(&service("big", json!({"clusterIP": "None"})));
        table.upsert_service(&service("out", json!({"type": "ExternalName", "externalName": "known.example"})));
        table.upsert_service(&service("lost", json!({"type": "ExternalName", "externalName": "unknown.example"})));
        table.upsert_slice(&serde_json::from_value(slice).unwrap());
        let services = ["shop/web", "shop/big", "shop/out", "shop/lost"].map(String::from);
        table.services_listed(&HashSet::from(services));
        table.slices_listed(&HashSet::from(["shop/big-1".to_owned()]));
    });
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

async fn send(address: SocketAddr, message: &Message) -> Message {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(address).await.unwrap();
    socket.send(&message.to_vec().unwrap()).await.unwrap();
    let mut buffer = [0; 65_535];
    let length = timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("no answer").unwrap();
    let answer = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(answer.metadata.id, message.metadata.id);
    answer
}

async fn ask(bed: &Bed, name: &str, kind: RecordType) -> Message {
    send(bed.address, &question(name, kind)).await
}

async fn over_tcp(stream: &mut TcpStream, message: &Message) -> Message {
    let bytes = message.to_vec().unwrap();
    stream.write_all(&u16::try_from(bytes.len()).unwrap().to_be_bytes()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let length = timeout(PATIENCE, stream.read_u16()).await.expect("no answer").unwrap();
    let mut buffer = vec![0; length.into()];
    stream.read_exact(&mut buffer).await.unwrap();
    Message::from_vec(&buffer).unwrap()
}

/// Somebody who knows `known.example` and `huge.example` (only over TCP), denies the rest, and counts.
async fn world() -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let address = free_address().await;
    let udp = UdpSocket::bind(address).await.unwrap();
    let tcp = TcpListener::bind(address).await.unwrap();
    let counted = count.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, client) = udp.recv_from(&mut buffer).await.unwrap();
            let question = Message::from_vec(&buffer[..length]).unwrap();
            if question.queries[0].query_type == RecordType::HINFO {
                continue;
            }
            counted.fetch_add(1, Ordering::SeqCst);
            udp.send_to(&know(&question, true).to_vec().unwrap(), client).await.unwrap();
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut buffer = vec![0; length.into()];
            stream.read_exact(&mut buffer).await.unwrap();
            let bytes = know(&Message::from_vec(&buffer).unwrap(), false).to_vec().unwrap();
            stream.write_all(&u16::try_from(bytes.len()).unwrap().to_be_bytes()).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        }
    });
    (address, count)
}

fn know(question: &Message, udp: bool) -> Message {
    let asked = &question.queries[0];
    let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    answer.add_query(asked.clone());
    let address = |n: u32| Record::from_rdata(asked.name.clone(), 300, RData::A(Ipv4Addr::from(n).into()));
    match asked.name.to_lowercase().to_string().as_str() {
        "known.example." => drop(answer.add_answer(address(1))),
        "huge.example." if udp => answer.metadata.truncation = true,
        "huge.example." => drop(answer.add_answers((0..60).map(address))),
        _ => {
            answer.metadata.response_code = ResponseCode::NXDomain;
            let zone = Name::from_ascii("example.").unwrap();
            let soa = SOA::new(zone.clone(), zone.clone(), 1, 1, 1, 1, 20);
            answer.add_authority(Record::from_rdata(zone, 20, RData::SOA(soa)));
        }
    }
    answer
}

#[tokio::test]
async fn names_of_the_cluster_are_answered_with_authority_over_udp_and_tcp() {
    let bed = bed(None).await;
    assert_eq!(
        ask(&bed, "web.shop.svc.cluster.local.", RecordType::A).await.metadata.response_code,
        ResponseCode::ServFail
    );
    fill(&bed.dns);
    let answer = ask(&bed, "Web.shop.svc.cluster.local.", RecordType::A).await;
    assert!(answer.metadata.authoritative && answer.metadata.recursion_available && answer.metadata.recursion_desired);
    assert!(answer.queries[0].name.eq_case(&Name::from_ascii("Web.shop.svc.cluster.local.").unwrap()));
    assert_eq!(answer.answers[0].data.ip_addr(), Some("10.96.0.7".parse().unwrap()));
    assert_eq!(answer.edns, None, "who does not ask with EDNS gets none");
    let mut stream = TcpStream::connect(bed.address).await.unwrap();
    for _ in 0..3 {
        let answer = over_tcp(&mut stream, &question("web.shop.svc.cluster.local.", RecordType::SRV)).await;
        assert_eq!((answer.answers.len(), answer.additionals.len()), (1, 1));
    }
}

#[tokio::test]
async fn what_does_not_fit_a_datagram_comes_whole_over_tcp() {
    let bed = bed(None).await;
    fill(&bed.dns);
    let name = "big.shop.svc.cluster.local.";
    let cut = ask(&bed, name, RecordType::A).await;
    assert!(cut.metadata.truncation && cut.answers.len() < 40);
    let mut with_edns = question(name, RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    with_edns.set_edns(edns.clone());
    let more = send(bed.address, &with_edns).await;
    assert!(more.metadata.truncation && more.answers.len() > cut.answers.len());
    assert_eq!(more.edns.unwrap().max_payload(), 1232);
    let mut stream = TcpStream::connect(bed.address).await.unwrap();
    let whole = over_tcp(&mut stream, &question(name, RecordType::A)).await;
    assert!(!whole.metadata.truncation && whole.answers.len() == 100);
}

#[tokio::test]
async fn other_names_are_asked_upstream_once_and_then_remembered() {
    let (upstream, count) = world().await;
    let bed = bed(Some(upstream)).await;
    fill(&bed.dns);
    for _ in 0..3 {
        let answer = ask(&bed, "KNOWN.example.", RecordType::A).await;
        assert_eq!(answer.answers[0].ttl, 30, "no longer than the cache keeps it");
        assert!(!answer.metadata.authoritative);
        assert_eq!(ask(&bed, "unknown.example.", RecordType::A).await.metadata.response_code, ResponseCode::NXDomain);
    }
    assert_eq!(count.load(Ordering::SeqCst), 2, "one each");
    let huge = ask(&bed, "huge.example.", RecordType::A).await;
    assert!(huge.metadata.truncation, "whole from upstream over TCP, and cut again for this client");
    let out = ask(&bed, "out.shop.svc.cluster.local.", RecordType::A).await;
    let kinds: Vec<RecordType> = out.answers.iter().map(Record::record_type).collect();
    assert_eq!(kinds, [RecordType::CNAME, RecordType::A]);
    let lost = ask(&bed, "lost.shop.svc.cluster.local.", RecordType::A).await;
    assert_eq!((lost.metadata.response_code, lost.answers.len()), (ResponseCode::NXDomain, 1));
    let text = bed.dns.metrics();
    for line in [
        "coredns_cache_hits_total{server=\"dns://:53\",zones=\".\",type=\"success\"} ",
        "coredns_cache_hits_total{server=\"dns://:53\",zones=\".\",type=\"denial\"} ",
        "coredns_cache_misses_total{server=\"dns://:53\",zones=\".\"} ",
        "coredns_dns_requests_total{server=\"dns://:53\",zone=\"cluster.local.\",proto=\"udp\",family=\"1\",type=\"A\"} 2",
        "coredns_dns_responses_total{server=\"dns://:53\",zone=\".\",rcode=\"NXDOMAIN\",plugin=\"forward\"} 1",
        "coredns_dns_request_duration_seconds_bucket",
        "coredns_cache_entries 3",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

#[tokio::test]
async fn without_upstream_other_names_fail_at_once() {
    let bed = bed(None).await;
    fill(&bed.dns);
    let code = async |name: &str| ask(&bed, name, RecordType::A).await.metadata.response_code;
    assert_eq!(code("example.com.").await, ResponseCode::ServFail);
    assert_eq!(code("1.2.0.192.in-addr.arpa.").await, ResponseCode::ServFail);
    let out = ask(&bed, "out.shop.svc.cluster.local.", RecordType::A).await;
    assert_eq!((out.metadata.response_code, out.answers.len()), (ResponseCode::ServFail, 1), "but the alias is told");
}

#[tokio::test]
async fn an_upstream_that_leads_back_here_is_found_out() {
    let address = free_address().await;
    let bed = bed_at(address, Some(address), |_| ()).await;
    fill(&bed.dns);
    // The first question goes around at most a few times, and the probe behind it ends that.
    let first = ask(&bed, "example.com.", RecordType::A).await;
    assert_eq!(first.metadata.response_code, ResponseCode::ServFail);
    let before = std::time::Instant::now();
    assert_eq!(ask(&bed, "example.org.", RecordType::A).await.metadata.response_code, ResponseCode::ServFail);
    assert!(before.elapsed() < Duration::from_secs(1), "nobody is asked any more: {:?}", before.elapsed());
}

#[tokio::test]
async fn questions_that_wait_are_bounded_and_do_not_hold_up_the_cluster() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let bed =
        bed_at(free_address().await, Some(silent.local_addr().unwrap()), |config| config.max_concurrent = 2).await;
    fill(&bed.dns);
    let clients: Vec<UdpSocket> = some_clients(4).await;
    for (n, client) in clients.iter().enumerate() {
        let message = question(&format!("n{n}.example."), RecordType::A);
        client.send_to(&message.to_vec().unwrap(), bed.address).await.unwrap();
    }
    // Which two wait is the scheduler's choice.
    let refusals = async |client: &UdpSocket| {
        let mut buffer = [0; 512];
        let length = client.recv(&mut buffer).await.unwrap();
        assert_eq!(Message::from_vec(&buffer[..length]).unwrap().metadata.response_code, ResponseCode::Refused);
    };
    let mut answers: futures::stream::FuturesUnordered<_> = clients.iter().map(refusals).collect();
    for _ in 0..2 {
        timeout(PATIENCE, answers.next()).await.expect("no answer").expect("a client");
    }
    let answer = ask(&bed, "web.shop.svc.cluster.local.", RecordType::A).await;
    assert_eq!(answer.answers.len(), 1);
}

async fn some_clients(count: usize) -> Vec<UdpSocket> {
    let mut sockets = Vec::new();
    for _ in 0..count {
        sockets.push(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
    }
    sockets
}

#[tokio::test]
async fn what_is_no_question_gets_an_error_and_what_is_an_answer_gets_nothing() {
    let bed = bed_at(free_address().await, None, |config| config.max_connections = 2).await;
    fill(&bed.dns);
    let code = async |change: &dyn Fn(&mut Message)| {
        let mut message = question("web.shop.svc.cluster.local.", RecordType::A);
        change(&mut message);
        send(bed.address, &message).await.metadata.response_code
    };
    assert_eq!(code(&|message| message.metadata.op_code = OpCode::Notify).await, ResponseCode::NotImp);
    assert_eq!(code(&|message| message.queries.clear()).await, ResponseCode::FormErr);
    assert_eq!(code(&|message| message.queries.push(message.queries[0].clone())).await, ResponseCode::FormErr);
    assert_eq!(code(&|message| message.queries[0].query_class = DNSClass::CH).await, ResponseCode::Refused);
    assert_eq!(code(&|message| message.queries[0].query_type = RecordType::AXFR).await, ResponseCode::Refused);
    let badvers = code(&|message| {
        let mut edns = Edns::new();
        edns.set_version(1);
        message.set_edns(edns);
    });
    // 16 is BADVERS here, and BADSIG elsewhere.
    assert_eq!(u16::from(badvers.await), 16);
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut answer = question("web.shop.svc.cluster.local.", RecordType::A);
    answer.metadata.message_type = MessageType::Response;
    client.send_to(&answer.to_vec().unwrap(), bed.address).await.unwrap();
    client.send_to(b"short", bed.address).await.unwrap();
    client.send_to(&[], bed.address).await.unwrap();
    assert!(timeout(Duration::from_millis(200), client.recv(&mut [0; 512])).await.is_err());
    // Connections beyond the bound are closed, the others serve on.
    let mut first = TcpStream::connect(bed.address).await.unwrap();
    let _second = TcpStream::connect(bed.address).await.unwrap();
    let web = question("web.shop.svc.cluster.local.", RecordType::A);
    assert_eq!(over_tcp(&mut first, &web).await.answers.len(), 1);
    let mut third = TcpStream::connect(bed.address).await.unwrap();
    assert_eq!(timeout(PATIENCE, third.read(&mut [0; 1])).await.expect("kept open").unwrap_or(0), 0);
    assert_eq!(over_tcp(&mut first, &web).await.answers.len(), 1);
}
