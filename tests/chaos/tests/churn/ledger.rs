//! What was an endpoint of which Service when, and whether what callers saw agrees.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use orlop_chaos::{Exchange, Kind};

/// How long after its endpoint was removed a held UDP flow may notice.
const MOVING: Duration = Duration::from_secs(2);
/// The longest that an exchange may take.
const STALL: Duration = Duration::from_secs(1);

/// A time during which something was so: for callers it may have begun with the first and have ended with the last moment, since
/// between a write's begin and end nobody knows.
#[derive(Debug, Clone, Copy)]
struct Span {
    from: Duration,
    to: Duration,
}

/// A Service that comes and goes, in the moments at which it was asked for and done.
#[derive(Debug, Clone, Copy)]
struct Life {
    begins: Duration,
    began: Duration,
    leaves: Duration,
    left: Duration,
}

/// The whole of a run.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Writes.
    pub changes: usize,
    endpoints: BTreeMap<(String, String), Vec<Span>>,
    lives: BTreeMap<String, Vec<Life>>,
}

impl Ledger {
    /// One of several about different Services.
    pub fn of_all(ledgers: Vec<Self>) -> Self {
        let mut all = Self::default();
        for ledger in ledgers {
            all.changes += ledger.changes;
            all.endpoints.extend(ledger.endpoints);
            all.lives.extend(ledger.lives);
        }
        all
    }

    /// A server is about to become an endpoint.
    pub fn comes(&mut self, service: &str, server: &str, at: Duration) {
        let spans = self.endpoints.entry((service.into(), server.into())).or_default();
        spans.push(Span { from: at, to: Duration::MAX });
    }

    /// It is none any more.
    pub fn goes(&mut self, service: &str, server: &str, at: Duration) {
        let spans = self.endpoints.get_mut(&(service.into(), server.into()));
        spans.and_then(|spans| spans.last_mut()).unwrap().to = at;
    }

    /// A Service is about to be created.
    pub fn begins(&mut self, service: &str, at: Duration) {
        let never = Duration::MAX;
        let life = Life { begins: at, began: never, leaves: never, left: never };
        self.lives.entry(service.into()).or_default().push(life);
    }

    /// It is there, with its endpoints.
    pub fn began(&mut self, service: &str, at: Duration) {
        self.life(service).began = at;
    }

    /// It is about to be deleted.
    pub fn leaves(&mut self, service: &str, at: Duration) {
        self.life(service).leaves = at;
    }

    /// It is gone.
    pub fn left(&mut self, service: &str, at: Duration) {
        self.life(service).left = at;
    }

    fn life(&mut self, service: &str) -> &mut Life {
        self.lives.get_mut(service).and_then(|lives| lives.last_mut()).unwrap()
    }

    /// The endpoints of a Service at the end.
    pub fn present(&self, service: &str) -> BTreeSet<&str> {
        let there = self
            .endpoints
            .iter()
            .filter(|((of, _), spans)| of == service && spans.last().is_some_and(|span| span.to == Duration::MAX));
        there.map(|((_, server), _)| server.as_str()).collect()
    }

    fn spans(&self, service: &str, server: &str) -> &[Span] {
        self.endpoints.get(&(service.to_owned(), server.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// Whether a server was an endpoint at some moment of these, or `before` them.
    fn was(&self, service: &str, server: &str, from: Duration, to: Duration, before: Duration) -> bool {
        self.spans(service, server).iter().any(|span| span.from <= to && span.to.saturating_add(before) >= from)
    }

    /// Whether it was one without interruption.
    fn stayed(&self, service: &str, server: &str, from: Duration, to: Duration) -> bool {
        self.spans(service, server).iter().any(|span| span.from <= from && span.to >= to)
    }

    /// What the exchanges of a flow called `place/kind/service`, in order, say against the ledger.
    pub fn problems(&self, exchanges: &[Exchange], grace: Duration) -> Vec<String> {
        let words: Vec<&str> = exchanges[0].flow.split('/').collect();
        let (kind, service) = (words[1].parse::<Kind>().unwrap(), words[2]);
        if service.starts_with("fleeting") {
            return exchanges.iter().filter_map(|one| self.fleeting(service, one, grace)).collect();
        }
        let mut wrong = Vec::new();
        let mut held: Option<&Exchange> = None;
        for one in exchanges {
            let problem = match one.server() {
                None => self.failure(kind, service, held, one),
                Some(_) if one.took() > STALL => Some(format!("took {:?}", one.took())),
                // A connection stays with the server that it has, whatever becomes of that as an endpoint.
                Some(_) if matches!(kind, Kind::TcpHeld | Kind::TcpBulk) => None,
                Some(server) if !self.was(service, server, one.began, one.ended, grace) => {
                    Some(format!("met {server}: {}", self.history(service, server, one.began)))
                }
                Some(server) => held.filter(|_| kind.lasts()).and_then(|held| {
                    let before = held.server().filter(|before| *before != server)?;
                    let stayed = self.stayed(service, before, held.began.saturating_sub(grace), one.ended);
                    stayed.then(|| format!("changed from {before}, which is an endpoint all the time, to {server}"))
                }),
            };
            wrong.extend(problem.map(|problem| format!("{} at {:?}: {problem}", one.flow, one.ended)));
            if one.answer.is_ok() {
                held = Some(one);
            }
        }
        wrong
    }

    /// Whether a Service lost an endpoint, or may have, in this time.
    fn lost_one(&self, service: &str, from: Duration, to: Duration) -> bool {
        let mut spans = self.endpoints.iter().filter(|((of, _), _)| of == service).flat_map(|(_, spans)| spans);
        spans.any(|span| span.to.saturating_add(STALL) >= from && span.to <= to)
    }

    /// A failure is none of the proxy's where a held UDP flow has just lost its endpoint: it must go to another one. Nor where the
    /// socket of an exchange was destroyed because the endpoint that it had just been given went.
    fn failure(&self, kind: Kind, service: &str, held: Option<&Exchange>, one: &Exchange) -> Option<String> {
        let error = one.answer.as_ref().err()?;
        if kind == Kind::UdpConnected
            && let Some((held, server)) = held.and_then(|held| Some((held, held.server()?)))
            && !self.stayed(service, server, held.began.saturating_sub(MOVING), one.ended)
        {
            return None;
        }
        let destroyed = kind == Kind::UdpShort && error.contains("Software caused connection abort");
        if destroyed && self.lost_one(service, one.began, one.ended) {
            return None;
        }
        let last = held.and_then(Exchange::server).map(|server| format!(" (it had {server})")).unwrap_or_default();
        Some(format!("{error}{last}"))
    }

    fn history(&self, service: &str, server: &str, at: Duration) -> String {
        match self.spans(service, server).iter().rev().find(|span| span.from <= at) {
            Some(span) => format!("an endpoint until {:?} before", at.saturating_sub(span.to)),
            None => "never an endpoint".into(),
        }
    }

    /// Whoever calls a Service that comes and goes.
    fn fleeting(&self, service: &str, one: &Exchange, grace: Duration) -> Option<String> {
        let lives = self.lives.get(service).map_or(&[][..], Vec::as_slice);
        let there = |life: &&Life| one.began >= life.began.saturating_add(grace) && one.ended <= life.leaves;
        let touched = |life: &&Life| one.ended >= life.begins && one.began <= life.left.saturating_add(grace);
        match &one.answer {
            Err(error) if lives.iter().any(|life| there(&life)) => {
                Some(format!("{} at {:?}: {error}, though the Service is there", one.flow, one.ended))
            }
            Ok((server, _)) if !lives.iter().any(|life| touched(&life)) => {
                Some(format!("{} at {:?}: met {server} through a Service that is not there", one.flow, one.ended))
            }
            _ => None,
        }
    }
}
