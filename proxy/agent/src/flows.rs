//! Live flows in words: what happened to one of them, and lists of those to a frontend.

use std::fmt::Write as _;
use std::net::SocketAddr;

use orlop_plan::{Backend, Flow, FlowFilter, Flows, Frontend, Plan};

use crate::explain::{Question, QuestionError, destination};

/// How many a list has when nobody says, and how many it may have.
const USUAL: usize = 100;
const MOST: usize = 1_000;

/// Which flows are to be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowsQuestion(FlowFilter);

impl FlowsQuestion {
    /// Flows to `address:port[/protocol]`; an unspecified address stands for every one.
    pub fn new(frontend: &str, limit: Option<usize>) -> Result<Self, QuestionError> {
        let (service, protocol) = destination(frontend)?;
        let most = limit.unwrap_or(USUAL).min(MOST);
        Ok(Self(FlowFilter { protocol, service, client: None, most }))
    }

    /// Reads the query of `/flows`: `frontend=10.96.0.10:80/TCP&limit=100`.
    pub fn parse(query: &str) -> Result<Self, QuestionError> {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let get = |key: &str| pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let limit = get("limit").map(|text| text.parse().map_err(|_| QuestionError::Limit(text.into()))).transpose()?;
        Self::new(get("frontend").unwrap_or_default(), limit)
    }

    /// The query that [`FlowsQuestion::parse`] reads.
    pub fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("frontend", &format!("{}/{}", self.0.service, self.0.protocol));
        query.append_pair("limit", &self.0.most.to_string()).finish()
    }

    /// A line for each, and how many there are.
    pub(crate) fn answer(&self, backend: &mut dyn Backend) -> String {
        match backend.flows(&self.0) {
            Err(error) => unreadable(backend, &error),
            Ok(Flows { all, total, notes }) => {
                let mut text = format!("{total} flows to {}/{}", self.0.service, self.0.protocol);
                text += &if all.len() < total { format!("; the first {}:\n", all.len()) } else { "\n".into() };
                all.iter().for_each(|flow| text += &format!("  {flow}\n"));
                notes.iter().for_each(|note| text += &format!("  ({note})\n"));
                text
            }
        }
    }
}

fn unreadable(backend: &dyn Backend, error: &dyn std::fmt::Display) -> String {
    format!("The kernel ({} mode) could not be asked for its flows: {error}\n", backend.mode())
}

/// What the kernel knows of the flow a question is about.
pub(crate) fn story(question: &Question, client: SocketAddr, backend: &mut dyn Backend, plan: &Plan) -> String {
    let Question { to, protocol, .. } = *question;
    let wanted = FlowFilter { protocol, service: to, client: Some(client), most: 8 };
    let found = match backend.flows(&wanted) {
        Ok(found) => found,
        Err(error) => return unreadable(backend, &error),
    };
    let mut text =
        format!("The {protocol} flow from {client} to {to} on node {} ({} mode)\n", plan.node.name, backend.mode());
    if found.all.is_empty() {
        text += "  is not translated here. Either it ended, or was silent for too long; or its packets never came to this \
                 node; or what it called was no Service when it began.\n";
    }
    for flow in &found.all {
        tell(&mut text, flow, question, plan);
    }
    found.notes.iter().for_each(|note| text += &format!("  ({note})\n"));
    text += "A new one would meet this:\n";
    text
}

fn tell(text: &mut String, flow: &Flow, question: &Question, plan: &Plan) {
    // Writing into a String cannot fail.
    let _ = match flow.source {
        Some(source) => writeln!(text, "  goes to {}, which sees it come from {source}", flow.endpoint),
        None => writeln!(text, "  goes to {}, which sees it come from where it comes from", flow.endpoint),
    };
    let times = flow.times();
    let _ = writeln!(text, "  {}{}{times}", flow.state, if times.is_empty() { "" } else { "; " });
    let volumes: Vec<String> = [("to the endpoint", flow.there), ("back", flow.back)]
        .into_iter()
        .filter_map(|(direction, volume)| Some(format!("{direction} {}", volume?)))
        .collect();
    if !volumes.is_empty() {
        let _ = writeln!(text, "  {}", volumes.join("; "));
    }
    let _ = writeln!(text, "  kept in {}", flow.place);
    let target = question.candidates().into_iter().find_map(|frontend: Frontend| plan.get(&frontend));
    let (ip, port) = (flow.endpoint.ip(), flow.endpoint.port());
    let _ = match target {
        None => writeln!(text, "  no Service claims {} any more", question.to),
        Some(target) => {
            let serves =
                [Some(&target.endpoints), target.local.as_ref()].into_iter().flatten().any(|s| s.serves(ip, port));
            let still = if serves { "is one of" } else { "is none (any more) of" };
            writeln!(text, "  {} {still} the endpoints of {}", flow.endpoint, target.name)
        }
    };
}
