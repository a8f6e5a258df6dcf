//! Answers of others, for as long as they hold, and never more than fits: bounded in number and in bytes, the oldest go first.
//! CoreDNS' `cache 30`: nothing, neither an answer nor a denial, is kept longer than 30 seconds.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// The longest time to live, in seconds.
pub(crate) const MAX_TTL: u32 = 30;
/// CoreDNS' capacity for answers and denials together.
const ENTRIES: usize = 2 * 9984;
/// A message with more records is not worth its memory.
const RECORDS: usize = 64;
/// All cached records together: a record is about 200 bytes.
const ALL_RECORDS: usize = 100_000;

/// What an answer depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Compared without case.
    pub name: Name,
    pub kind: RecordType,
    pub dnssec_ok: bool,
    pub checking_disabled: bool,
}

#[derive(Debug)]
struct Entry {
    message: Arc<Message>,
    stored: Instant,
    expires: Instant,
    generation: u64,
}

/// The cache.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: HashMap<Key, Entry>,
    /// In the order of storing; what was replaced since has another generation.
    order: VecDeque<(Key, u64)>,
    generation: u64,
    records: usize,
}

impl Cache {
    /// What is known, with what is left of each record's time to live.
    pub fn get(&self, key: &Key, now: Instant) -> Option<Message> {
        let entry = self.entries.get(key).filter(|entry| now < entry.expires)?;
        let age = u32::try_from(now.saturating_duration_since(entry.stored).as_secs()).unwrap_or(u32::MAX);
        let mut message = Message::clone(&entry.message);
        for record in sections(&mut message) {
            record.ttl = record.ttl.saturating_sub(age);
        }
        Some(message)
    }

    /// Keeps a response if it may be kept.
    pub fn put(&mut self, key: Key, message: &Message, now: Instant) {
        let Some(ttl) = time_to_live(message).filter(|ttl| *ttl > 0) else { return };
        let weight = weigh(message);
        if weight > RECORDS {
            return;
        }
        self.generation += 1;
        let entry = Entry {
            message: Arc::new(message.clone()),
            stored: now,
            expires: now + Duration::from_secs(ttl.into()),
            generation: self.generation,
        };
        self.records += weight;
        if let Some(before) = self.entries.insert(key.clone(), entry) {
            self.records -= weigh(&before.message);
        }
        self.order.push_back((key, self.generation));
        self.shrink(now);
    }

    /// How many answers are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    fn shrink(&mut self, now: Instant) {
        while let Some((key, generation)) = self.order.front() {
            let entry = self.entries.get(key).filter(|entry| entry.generation == *generation);
            let full = self.entries.len() > ENTRIES || self.records > ALL_RECORDS || self.order.len() > 2 * ENTRIES;
            match entry {
                Some(entry) if now < entry.expires && !full => return,
                Some(entry) => {
                    self.records -= weigh(&entry.message);
                    self.entries.remove(key);
                }
                None => {}
            }
            self.order.pop_front();
        }
    }
}

fn weigh(message: &Message) -> usize {
    1 + message.answers.len() + message.authorities.len() + message.additionals.len()
}

/// Every record of a message.
pub(crate) fn sections(message: &mut Message) -> impl Iterator<Item = &mut Record> {
    message.answers.iter_mut().chain(&mut message.authorities).chain(&mut message.additionals)
}

/// How long a response holds, in seconds; none if it must not be kept. A denial holds as long as the zone's SOA says
/// (RFC 2308).
fn time_to_live(message: &Message) -> Option<u32> {
    if message.metadata.truncation {
        return None;
    }
    let denies = match message.metadata.response_code {
        ResponseCode::NoError => message.answers.is_empty(),
        ResponseCode::NXDomain => true,
        _ => return None,
    };
    let soa = message.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    let answers = message.answers.iter().map(|record| record.ttl).min();
    let ttl = if denies { Some(soa?.min(answers.unwrap_or(u32::MAX))) } else { answers };
    ttl.map(|ttl| ttl.min(MAX_TTL))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::op::{MessageType, OpCode};
    use hickory_proto::rr::rdata::SOA;

    use super::*;

    fn key(name: &str) -> Key {
        let name = Name::from_ascii(name).unwrap();
        Key { name, kind: RecordType::A, dnssec_ok: false, checking_disabled: false }
    }

    fn response(code: ResponseCode) -> Message {
        let mut message = Message::new(1, MessageType::Response, OpCode::Query);
        message.metadata.response_code = code;
        message
    }

    fn address(ttl: u32) -> Message {
        let mut message = response(ResponseCode::NoError);
        let data = RData::A(Ipv4Addr::LOCALHOST.into());
        message.add_answer(Record::from_rdata(Name::from_ascii("a.test.").unwrap(), ttl, data));
        message
    }

    #[test]
    fn an_answer_ages_and_goes_after_thirty_seconds_at_most() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        cache.put(key("a.test."), &address(300), start);
        let later = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(cache.get(&key("A.Test."), later(10)).unwrap().answers[0].ttl, 290);
        assert!(cache.get(&key("a.test."), later(30)).is_none());
        cache.put(key("b.test."), &address(0), start);
        assert!(cache.get(&key("b.test."), start).is_none(), "zero means do not keep");
    }

    #[test]
    fn a_denial_is_kept_as_long_as_the_soa_says_and_failures_not_at_all() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        cache.put(key("a.test."), &response(ResponseCode::NXDomain), start);
        cache.put(key("b.test."), &response(ResponseCode::ServFail), start);
        assert_eq!(cache.len(), 0);
        let mut denial = response(ResponseCode::NXDomain);
        let root = Name::root();
        let soa = SOA::new(root.clone(), root.clone(), 1, 1, 1, 1, 5);
        denial.add_authority(Record::from_rdata(root, 3600, RData::SOA(soa)));
        cache.put(key("a.test."), &denial, start);
        assert!(cache.get(&key("a.test."), start + Duration::from_secs(4)).is_some());
        assert!(cache.get(&key("a.test."), start + Duration::from_secs(5)).is_none());
    }

    #[test]
    fn it_never_grows_past_its_bounds() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        for n in 0..ENTRIES + 1000 {
            cache.put(key(&format!("n{n}.test.")), &address(30), start);
        }
        assert_eq!(cache.len(), ENTRIES);
        assert!(cache.get(&key("n0.test."), start).is_none(), "the oldest went");
        for _ in 0..3 * ENTRIES {
            cache.put(key("same.test."), &address(30), start);
        }
        assert!(cache.order.len() <= 2 * ENTRIES + 1);
        cache.put(key("late.test."), &address(30), start + Duration::from_secs(31));
        assert_eq!((cache.len(), cache.records), (1, 2), "what expired goes too");
    }
}
