//! From addresses to names.

use hickory_proto::op::Query;
use hickory_proto::rr::rdata::PTR;
use hickory_proto::rr::{Name, RData, RecordType};
use std::net::IpAddr;

use super::{Answer, Asking, Reply, reverse_zone};

impl Asking<'_> {
    /// PTR for the addresses of Services and of ready endpoints; everything else there is upstream's.
    pub fn reverse(&self, question: &Query) -> Answer {
        let name = &question.name;
        if question.query_type == RecordType::SOA && name.iter().count() == 2 {
            let answers = self.soa(&reverse_zone(name)).into_iter().collect();
            return Answer::Reply(Reply { answers, ..Reply::default() });
        }
        let address = (question.query_type == RecordType::PTR).then(|| address(name)).flatten();
        let Some(address) = address else { return Answer::Forward };
        let mut targets: Vec<Name> = Vec::new();
        if let Some((namespace, service)) = self.table.with_cluster_ip(address).and_then(|key| key.split_once('/')) {
            targets.extend(self.named(&[service, namespace, "svc"]));
        } else {
            for (key, entry) in self.table.with_endpoint(address) {
                let Some((namespace, service)) = key.split_once('/') else { continue };
                let own = entry.endpoints().filter(|(_, endpoint)| endpoint.address == address);
                targets.extend(own.filter_map(|(_, e)| self.named(&[&e.label(), service, namespace, "svc"])));
            }
        }
        if targets.is_empty() {
            return Answer::Forward;
        }
        let mut reply = Reply::default();
        for target in targets {
            let record = self.zone.record(name, RData::PTR(PTR(target)));
            if !reply.answers.contains(&record) {
                reply.answers.push(record);
            }
        }
        Answer::Reply(reply)
    }

    fn named(&self, labels: &[&str]) -> Option<Name> {
        let labels = labels.iter().map(|label| label.as_bytes());
        Name::from_labels(labels.chain(self.zone.domain.iter())).ok()
    }
}

/// The one address that a reverse name tells.
fn address(name: &Name) -> Option<IpAddr> {
    let network = name.parse_arpa_name().ok()?;
    (network.prefix_len() == network.max_prefix_len()).then(|| network.addr())
}
