//! `orlop explain`: what happens to a packet, rule by rule, beside what the kernel holds for it.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use orlop_plan::{
    Backend, Census, Choice, DetectLocal, Family, Frontend, FrontendKind, Held, NodeFacts, Origin, Outcome, Packet,
    Plan, Protocol, Target, explain,
};

use crate::flows;

/// Nobody has this address (RFC 5737): a caller from outside.
const OUTSIDE_V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
/// Likewise (RFC 3849).
const OUTSIDE_V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// Who sends the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum From {
    /// A pod of the cluster.
    #[default]
    Pod,
    /// A process of the node.
    Node,
    /// Somebody else.
    Outside,
}

/// Why a question makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    /// The destination.
    #[error("{0:?}: write it as 10.96.0.10:80, [fd00::10]:80 or 10.96.0.10:53/UDP")]
    Destination(String),
    /// The sender.
    #[error("from {0:?}: it must be pod, node or outside")]
    From(String),
    /// The source address.
    #[error("source {0:?} is no IP address")]
    Source(String),
    /// The client of a flow.
    #[error("flow {0:?}: write the client's address and port, as in 10.244.0.7:43210 or [fd00::7]:43210")]
    Flow(String),
    /// How much of a list.
    #[error("limit {0:?} is no number")]
    Limit(String),
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Where the packet goes.
    pub to: SocketAddr,
    /// By which protocol.
    pub protocol: Protocol,
    /// Who sends it.
    pub from: From,
    /// Its source, where that matters.
    pub source: Option<IpAddr>,
    /// The client of a flow that there is, which is to be told of first.
    pub flow: Option<SocketAddr>,
}

/// Reads `address:port[/protocol]`.
pub(crate) fn destination(to: &str) -> Result<(SocketAddr, Protocol), QuestionError> {
    let (address, protocol) = to.split_once('/').map_or((to, None), |(address, name)| (address, Some(name)));
    let protocol = Protocol::from_name(protocol.map(str::to_uppercase).as_deref());
    let bad = || QuestionError::Destination(to.into());
    Ok((address.parse().map_err(|_| bad())?, protocol.ok_or_else(bad)?))
}

impl Question {
    /// `address:port[/protocol]`, and who sends it.
    pub fn new(to: &str, from: Option<&str>, source: Option<&str>) -> Result<Self, QuestionError> {
        let (to, protocol) = destination(to)?;
        let from = match from {
            None | Some("pod") => From::Pod,
            Some("node") => From::Node,
            Some("outside") => From::Outside,
            Some(other) => return Err(QuestionError::From(other.into())),
        };
        let source = source.map(|text| text.parse().map_err(|_| QuestionError::Source(text.into()))).transpose()?;
        Ok(Self { to, protocol, from, source, flow: None })
    }

    /// About the flow of a client, too.
    pub fn of_flow(self, client: &str) -> Result<Self, QuestionError> {
        let client: SocketAddr = client.parse().map_err(|_| QuestionError::Flow(client.into()))?;
        Ok(Self { flow: Some(client), source: self.source.or(Some(client.ip())), ..self })
    }

    /// Reads the query of `/explain`: `to=10.96.0.10:80/TCP&from=pod&source=10.244.0.7&flow=10.244.0.7:43210`.
    pub fn parse(query: &str) -> Result<Self, QuestionError> {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let get = |key: &str| pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let question = Self::new(get("to").unwrap_or_default(), get("from"), get("source"))?;
        get("flow").map_or(Ok(question.clone()), |client| question.of_flow(client))
    }

    /// The query that [`Question::parse`] reads.
    pub fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("to", &format!("{}/{}", self.to, self.protocol));
        let from = match self.from {
            From::Pod => "pod",
            From::Node => "node",
            From::Outside => "outside",
        };
        query.append_pair("from", from);
        if let Some(source) = self.source {
            query.append_pair("source", &source.to_string());
        }
        if let Some(client) = self.flow {
            query.append_pair("flow", &client.to_string());
        }
        query.finish()
    }

    /// The answer, for a person.
    pub(crate) fn answer(&self, backend: &mut dyn Backend, plan: &Plan, census: Option<Census>) -> String {
        let caller = self.caller(&plan.node);
        let packet = Packet {
            source: caller.source,
            destination: self.to.ip(),
            protocol: self.protocol,
            port: self.to.port(),
            origin: if self.from == From::Node { Origin::Node } else { Origin::Device },
            device: caller.device.as_deref(),
        };
        let (outcome, reasons) = explain(plan, &packet);
        let mut text = self.flow.map(|client| flows::story(self, client, backend, plan)).unwrap_or_default();
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{} to {} from {} on node {}", self.protocol, self.to, caller.words, plan.node.name);
        for (number, reason) in (1..).zip(&reasons) {
            let _ = writeln!(text, "  {number}. {reason}");
        }
        if let Some(census) = census {
            let _ = writeln!(text, "  endpoints: {census}");
        }
        let frontends = self.frontends(plan);
        let external = frontends.first().and_then(|frontend| plan.get(frontend));
        let external = external.is_some_and(|target| target.kind != FrontendKind::ClusterIp);
        let stranger = packet.origin == Origin::Device && !plan.node.detect_local.is_pod(packet.source, packet.device);
        let keeps =
            |choice: &Choice| external && stranger && backend.keeps_source(&plan.node, self.protocol, &choice.endpoint);
        write_outcome(&mut text, &outcome, keeps);
        for frontend in &frontends {
            write_held(&mut text, backend, frontend, plan.get(frontend).map(|target| &**target));
        }
        if frontends.is_empty() {
            let _ = writeln!(text, "The kernel ({} mode) should hold nothing for it.", backend.mode());
            let frontend = Frontend::ip(self.to.ip(), self.protocol, self.to.port());
            write_held(&mut text, backend, &frontend, None);
        }
        text
    }

    /// The frontends of the plan that could be meant: the address itself, or the NodePort.
    fn frontends(&self, plan: &Plan) -> Vec<Frontend> {
        self.candidates().into_iter().filter(|frontend| plan.get(frontend).is_some()).take(1).collect()
    }

    /// What a packet like this may belong to: the first that there is.
    pub(crate) fn candidates(&self) -> [Frontend; 2] {
        let exact = Frontend::ip(self.to.ip(), self.protocol, self.to.port());
        [exact, Frontend::node_port(Family::of(self.to.ip()), self.protocol, self.to.port())]
    }

    fn caller(&self, node: &NodeFacts) -> Caller {
        let family = Family::of(self.to.ip());
        let outside = if family == Family::V4 { OUTSIDE_V4 } else { OUTSIDE_V6 };
        match self.from {
            From::Node => {
                let source = self.source.or(node.first_address(family)).unwrap_or(outside);
                Caller { source, device: None, words: format!("a process of the node ({source})") }
            }
            From::Outside => {
                let source = self.source.unwrap_or(outside);
                Caller { source, device: Some("outside".into()), words: format!("outside ({source})") }
            }
            From::Pod => {
                let (known, device) = match &node.detect_local {
                    DetectLocal::Cidrs(cidrs) => {
                        let own = cidrs.iter().find(|cidr| Family::of(cidr.addr()) == family);
                        (own.map(last_host), "pod".into())
                    }
                    DetectLocal::Bridge(name) => (None, name.clone()),
                    DetectLocal::InterfacePrefix(prefix) => (None, format!("{prefix}0")),
                };
                let source = self.source.or(known).unwrap_or(outside);
                let words = match &node.detect_local {
                    DetectLocal::Cidrs(_) if self.source.is_none() && known.is_none() => {
                        "a pod (which no known network tells from anybody else)".into()
                    }
                    DetectLocal::Cidrs(_) => format!("a pod ({source})"),
                    _ => format!("a pod (on device {device})"),
                };
                Caller { source, device: Some(device), words }
            }
        }
    }
}

/// The last address that a host of a network can have: an address of a pod that there is hardly ever.
fn last_host(network: &IpNet) -> IpAddr {
    match network.broadcast() {
        IpAddr::V4(last) if network.prefix_len() < 31 => IpAddr::from((u32::from(last) - 1).to_be_bytes()),
        last => last,
    }
}

struct Caller {
    source: IpAddr,
    device: Option<String>,
    words: String,
}

fn write_outcome(text: &mut String, outcome: &Outcome, keeps: impl Fn(&Choice) -> bool) {
    let _ = match outcome {
        Outcome::Pass => writeln!(text, "=> passed on untouched"),
        Outcome::Reject => writeln!(text, "=> refused"),
        Outcome::Drop => writeln!(text, "=> dropped"),
        Outcome::Forward { choices, .. } => {
            let _ = writeln!(text, "=> forwarded to one of {}:", choices.len());
            choices.iter().try_for_each(|choice| {
                let place = if choice.endpoint.local { "on this node" } else { "elsewhere" };
                let source = match (choice.masqueraded, choice.masqueraded && keeps(choice)) {
                    (true, true) => "source kept by direct server return",
                    (true, false) => "from this node's address",
                    (false, _) => "source kept",
                };
                writeln!(text, "     {} {place}, {source}", choice.endpoint)
            })
        }
    };
}

fn write_held(text: &mut String, backend: &mut dyn Backend, frontend: &Frontend, wanted: Option<&Target>) {
    let mode = backend.mode();
    let _ = match backend.held(frontend) {
        Err(error) => writeln!(text, "The kernel ({mode} mode) could not be read: {error}"),
        Ok(held) => {
            if let Some(held) = &held {
                let all: Vec<String> =
                    held.endpoints.iter().map(|(ip, port)| SocketAddr::new(*ip, *port).to_string()).collect();
                let _ =
                    writeln!(text, "The kernel ({mode} mode) holds {frontend} with {}: {}", all.len(), all.join(", "));
                if let Some(local) = &held.local {
                    let all: Vec<String> =
                        local.iter().map(|(ip, port)| SocketAddr::new(*ip, *port).to_string()).collect();
                    let _ = writeln!(text, "  of this node: {}", all.join(", "));
                }
                held.places.iter().for_each(|place| *text += &format!("  {place}\n"));
            }
            match Held::drift(held.as_ref(), wanted).as_slice() {
                [] if wanted.is_some() => writeln!(text, "No drift: the kernel holds what the plan wants."),
                [] => Ok(()),
                drift => drift.iter().try_for_each(|line| writeln!(text, "DRIFT: {line}")),
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Service;
    use k8s_openapi::api::discovery::v1::EndpointSlice;
    use orlop_plan::{BackendError, Changes, Endpoint, Flow, FlowFilter, Flows, NodeFacts, Tracker, Volume};

    /// Holds whatever it is told to, and one flow; answers for endpoints elsewhere may go straight to the client.
    #[derive(Default)]
    struct Fixed {
        held: Option<Held>,
        direct: bool,
    }

    impl Backend for Fixed {
        fn mode(&self) -> &'static str {
            "fixed"
        }
        fn sync(&mut self, _: &Plan, _: &Changes) -> Result<(), BackendError> {
            Ok(())
        }
        fn resync(&mut self, _: &Plan) -> Result<(), BackendError> {
            Ok(())
        }
        fn cleanup(&mut self) -> Result<(), BackendError> {
            Ok(())
        }
        fn flows(&mut self, wanted: &FlowFilter) -> Result<Flows, BackendError> {
            let second = |n| Some(std::time::Duration::from_secs(n));
            let volume = |packets| Some(Volume { packets, bytes: packets * 100 });
            let mut flows = Flows { notes: vec!["a note".into()], ..Flows::default() };
            if wanted.client.is_none_or(|client| client.port() == 4) {
                let flow = Flow {
                    protocol: wanted.protocol,
                    client: "10.244.0.7:4".parse()?,
                    service: wanted.service,
                    endpoint: "10.244.0.9:8080".parse()?,
                    source: Some("172.30.0.11:50000".parse()?),
                    state: "established".into(),
                    begun: second(12),
                    last: second(3),
                    kept: None,
                    there: volume(7),
                    back: None,
                    place: "a map".into(),
                };
                (0..3).for_each(|_| flows.push(flow.clone(), wanted));
            }
            Ok(flows)
        }
        fn held(&mut self, _: &Frontend) -> Result<Option<Held>, BackendError> {
            Ok(self.held.clone())
        }
        fn keeps_source(&self, _: &NodeFacts, _: Protocol, endpoint: &Endpoint) -> bool {
            self.direct && !endpoint.local
        }
    }

    #[test]
    fn who_is_answered_directly_keeps_the_source_and_pods_are_not() {
        let told = |from| {
            let question = Question::new("172.30.0.11:30001", Some(from), None).expect("a question");
            question.answer(&mut Fixed { direct: true, ..Fixed::default() }, &plan(), None)
        };
        let outside = told("outside");
        assert!(outside.contains("10.244.0.2:8080 on this node, from this node's address"), "{outside}");
        assert!(outside.contains("10.244.1.2:8080 elsewhere, source kept by direct server return"), "{outside}");
        let pod = told("pod");
        assert!(pod.contains("10.244.1.2:8080 elsewhere, from this node's address"), "{pod}");
    }

    fn plan() -> Plan {
        let cidrs = vec!["10.244.0.0/16".parse().expect("a CIDR")];
        let address = "172.30.0.11".parse().expect("an address");
        let mut tracker = Tracker::new(NodeFacts::primary("node1", vec![address], cidrs));
        let service: Service = serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "default", "name": "web"},
            "spec": {"clusterIPs": ["10.96.0.10"], "ports": [{"port": 80, "nodePort": 30001}]},
        }))
        .expect("a Service");
        let slice: EndpointSlice = serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "default", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"name": "", "port": 8080}],
            "endpoints": [{"addresses": ["10.244.0.2"], "nodeName": "node1"}, {"addresses": ["10.244.1.2"]}],
        }))
        .expect("a slice");
        tracker.upsert_service(&service);
        tracker.upsert_slice(&slice);
        tracker.plan()
    }

    #[test]
    fn the_decision_stands_beside_what_the_kernel_holds_and_drift_is_named() {
        let question = Question::new("10.96.0.10:80", None, None).expect("a question");
        let endpoints = vec![("10.244.0.2".parse().expect("an address"), 8080)];
        let held = Held { endpoints, places: vec!["map x, slot 1".into()], ..Held::default() };
        let text = question.answer(&mut Fixed { held: Some(held), direct: false }, &plan(), None);
        let expected = "TCP to 10.96.0.10:80 from a pod (10.244.255.254) on node node1
  1. TCP/10.96.0.10:80 is the cluster IP of default/web
  2. callers that are no pods are masqueraded; this one keeps its source
=> forwarded to one of 2:
     10.244.0.2:8080 on this node, source kept
     10.244.1.2:8080 elsewhere, source kept
The kernel (fixed mode) holds TCP/10.96.0.10:80 with 1: 10.244.0.2:8080
  map x, slot 1
DRIFT: endpoints missing in the kernel: 10.244.1.2:8080
";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_happened_to_a_flow_stands_before_what_would_happen_to_a_new_one() {
        let asked =
            |client| Question::new("10.96.0.10:80", None, None).and_then(|q| q.of_flow(client)).expect("a question");
        let text = asked("10.244.0.7:4").answer(&mut Fixed::default(), &plan(), None);
        let one = "  goes to 10.244.0.9:8080, which sees it come from 172.30.0.11:50000
  established; begun 12.0 s ago, last packet 3.0 s ago
  to the endpoint 7 packets, 700 bytes
  kept in a map
  10.244.0.9:8080 is none (any more) of the endpoints of default/web
";
        let expected = format!(
            "The TCP flow from 10.244.0.7:4 to 10.96.0.10:80 on node node1 (fixed mode)\n{one}{one}{one}  (a note)\n\
             A new one would meet this:\nTCP to 10.96.0.10:80 from a pod (10.244.0.7) on node node1\n"
        );
        assert!(text.starts_with(&expected), "{text}");
        let text = asked("10.244.0.7:5").answer(&mut Fixed::default(), &plan(), None);
        assert!(text.contains("\n  is not translated here. Either it ended, "), "{text}");
    }

    #[test]
    fn a_list_of_flows_says_how_many_there_are() {
        let question = flows::FlowsQuestion::parse("frontend=10.96.0.10:80/tcp&limit=1").expect("a question");
        assert_eq!(flows::FlowsQuestion::parse(&question.query()).expect("the same"), question);
        let expected = "3 flows to 10.96.0.10:80/TCP; the first 1:
  TCP 10.244.0.7:4 -> 10.96.0.10:80 => 10.244.0.9:8080 as 172.30.0.11:50000, established, begun 12.0 s ago, last packet 3.0 s ago, there 7 packets, 700 bytes (a map)
  (a note)
";
        assert_eq!(question.answer(&mut Fixed::default()), expected);
        assert!(flows::FlowsQuestion::parse("frontend=10.96.0.10:80&limit=x").is_err());
    }

    #[test]
    fn a_node_port_is_explained_by_any_address_that_answers() {
        let question = Question::new("172.30.0.11:30001/tcp", Some("outside"), None).expect("a question");
        let text = question.answer(&mut Fixed::default(), &plan(), None);
        assert!(text.starts_with("TCP to 172.30.0.11:30001 from outside (192.0.2.1) on node node1\n"), "{text}");
        assert!(text.contains("10.244.1.2:8080 elsewhere, from this node's address"), "{text}");
        assert!(text.ends_with("DRIFT: the kernel holds nothing for default/web\n"), "{text}");
    }

    #[test]
    fn a_question_survives_its_query_and_nonsense_is_refused() {
        let asked = Question::new("[fd00::10]:53/udp", Some("node"), Some("fd00::1")).expect("a question");
        assert_eq!(Question::parse(&asked.query()).expect("the same"), asked);
        let flow =
            Question::new("10.96.0.10:80", None, None).and_then(|q| q.of_flow("10.244.0.7:4")).expect("a flow's");
        assert_eq!(Question::parse(&flow.query()).expect("the same"), flow);
        assert_eq!(flow.source, Some("10.244.0.7".parse().expect("an address")));
        assert!(asked.of_flow("10.244.0.7").is_err());
        for (to, from, source) in [
            ("10.96.0.10", None, None),
            ("10.96.0.10:80/x", None, None),
            ("1.2.3.4:5", Some("moon"), None),
            ("1.2.3.4:5", None, Some("me")),
        ] {
            assert!(Question::new(to, from, source).is_err(), "{to} {from:?} {source:?}");
        }
    }
}
