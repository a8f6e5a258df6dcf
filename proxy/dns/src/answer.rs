//! What is to be answered to a question: a function of the table, as CoreDNS' `kubernetes` plugin answers with the
//! configuration that kubeadm gives it (`pods insecure`, `fallthrough in-addr.arpa ip6.arpa`, `ttl 30`) after the Kubernetes
//! DNS specification 1.1.0. Where it differs: an ExternalName whose target fails has the target's response code
//! (RFC 6604), and because this server does not watch namespaces, one exists if a Service is in it, and names of pods
//! are answered in every namespace.

mod reverse;
mod service;
#[cfg(test)]
mod tests;

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, NS, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::question::{Asked, read};
use crate::zone::{Place, last_labels};
use crate::{Table, Zone};

use service::Found;

/// The version of the DNS specification that this server keeps.
const SPECIFICATION: &str = "1.1.0";
const VERSION_TTL: u32 = 28_800;
/// So many ExternalNames in a row are followed.
const CHAIN: usize = 10;

/// What to do with a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Say this.
    Reply(Reply),
    /// Somebody else knows: ask upstream.
    Forward,
    /// An ExternalName leads out of the cluster: ask upstream for the target, and say both.
    Chase {
        /// The CNAME records so far.
        records: Vec<Record>,
        /// The name to ask for.
        target: Name,
    },
}

/// A reply with authority.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// Whether the name exists.
    pub code: ResponseCode,
    /// The records asked for.
    pub answers: Vec<Record>,
    /// The zone's SOA where there is no record, from which resolvers learn how long to remember that.
    pub authorities: Vec<Record>,
    /// Addresses of the names in `answers`.
    pub additionals: Vec<Record>,
}

/// Answers a question of class IN. `turn` rotates the addresses, so that clients that take the first spread out.
pub fn answer(table: &Table, zone: &Zone, question: &Query, turn: usize) -> Answer {
    let place = zone.place(&question.name);
    if place == Place::Elsewhere {
        return Answer::Forward;
    }
    if matches!(question.query_type, RecordType::AXFR | RecordType::IXFR) {
        return Answer::Reply(Reply { code: ResponseCode::Refused, ..Reply::default() });
    }
    if !table.is_complete() {
        return Answer::Reply(Reply { code: ResponseCode::ServFail, ..Reply::default() });
    }
    let asking = Asking { table, zone, turn };
    if place == Place::Reverse {
        return asking.reverse(question);
    }
    match question.query_type {
        RecordType::A | RecordType::AAAA => asking.addresses(question),
        kind => Answer::Reply(asking.others(&question.name, kind)),
    }
}

/// A question's surroundings.
#[derive(Clone, Copy)]
struct Asking<'a> {
    table: &'a Table,
    zone: &'a Zone,
    turn: usize,
}

impl Asking<'_> {
    /// A and AAAA, along ExternalNames.
    fn addresses(&self, question: &Query) -> Answer {
        let mut owner = question.name.clone();
        let mut reply = Reply::default();
        loop {
            let alias = self.with(&owner, |found| match found {
                Found::Alias(target) => Ok(target.to_owned()),
                found => Err(match found.addresses(question.query_type, self.turn) {
                    Some(addresses) => {
                        reply.answers.extend(addresses.into_iter().map(|ip| self.zone.address(&owner, ip)));
                        ResponseCode::NoError
                    }
                    None => ResponseCode::NXDomain,
                }),
            });
            let target = match alias {
                Ok(target) => target,
                Err(code) => {
                    reply.code = code;
                    break;
                }
            };
            let Some(target) = external_name(&target) else {
                reply.code = ResponseCode::NXDomain;
                break;
            };
            let seen = reply.answers.iter().any(|record| record.name == target) || target == owner;
            if seen || reply.answers.len() >= CHAIN {
                // A circle has no end to tell.
                break;
            }
            reply.answers.push(self.zone.record(&owner, RData::CNAME(CNAME(target.clone()))));
            if self.zone.place(&target) != Place::Cluster {
                return Answer::Chase { records: reply.answers, target };
            }
            owner = target;
        }
        let found = reply.answers.last().is_some_and(|record| record.record_type() == question.query_type);
        if !found {
            reply.authorities.extend(self.soa(&self.zone.suffix(&question.name)));
        }
        Answer::Reply(reply)
    }

    /// Every other type.
    fn others(&self, name: &Name, kind: RecordType) -> Reply {
        let suffix = self.zone.suffix(name);
        let apex = name.iter().count() == suffix.iter().count();
        let mut reply = Reply::default();
        if apex && kind == RecordType::SOA {
            reply.answers.extend(self.soa(&suffix));
        } else if apex && kind == RecordType::NS {
            for (server, address) in self.name_servers(&suffix) {
                let record = self.zone.record(name, RData::NS(NS(server.clone())));
                if !reply.answers.contains(&record) {
                    reply.answers.push(record);
                }
                reply.additionals.push(self.zone.address(&server, address));
            }
        } else {
            reply.code = self.with(name, |found| {
                match (&found, kind) {
                    (Found::Version, RecordType::TXT) => {
                        let text = TXT::new(vec![SPECIFICATION.to_owned()]);
                        reply.answers.push(Record::from_rdata(name.clone(), VERSION_TTL, RData::TXT(text)));
                    }
                    (Found::Alias(target), RecordType::CNAME) => {
                        let target = external_name(target).map(|target| RData::CNAME(CNAME(target)));
                        reply.answers.extend(target.map(|target| self.zone.record(name, target)));
                    }
                    (_, RecordType::SRV) => found.targets(self, name, &suffix, &mut reply),
                    _ => {}
                }
                let exists = match &found {
                    Found::Absent => false,
                    Found::Version => kind == RecordType::TXT,
                    Found::Alias(target) => external_name(target).is_some(),
                    _ => true,
                };
                if exists { ResponseCode::NoError } else { ResponseCode::NXDomain }
            });
        }
        if reply.answers.is_empty() {
            reply.authorities.extend(self.soa(&suffix));
        }
        reply
    }

    /// Looks a name below the domain up.
    fn with<T>(&self, name: &Name, use_it: impl FnOnce(Found<'_>) -> T) -> T {
        let count = name.iter().count() - self.zone.domain.iter().count();
        let lower = name.to_lowercase();
        let labels: Option<Vec<&str>> = lower.iter().take(count).map(|label| std::str::from_utf8(label).ok()).collect();
        match labels.as_deref().map_or(Asked::Nothing, read) {
            Asked::NameServer => {
                let servers = self.name_servers(&self.zone.suffix(name));
                use_it(Found::Addresses(servers.into_iter().map(|(_, address)| address).collect()))
            }
            asked => use_it(Found::of(self.table, &asked)),
        }
    }

    fn soa(&self, zone: &Name) -> Option<Record> {
        self.zone.soa(zone.clone(), self.table.serial())
    }
}

/// An ExternalName that is a name: one that is an address leads nowhere.
fn external_name(target: &str) -> Option<Name> {
    if target.is_empty() || target.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    let mut name = Name::from_ascii(target).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// The zone, `in-addr.arpa.` or `ip6.arpa.`, of a name in it.
fn reverse_zone(name: &Name) -> Name {
    last_labels(name, 2)
}
