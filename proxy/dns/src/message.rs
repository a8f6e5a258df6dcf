//! Messages on the wire: what a server may believe of a request, and how a response is made to fit.

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::DNSClass;

/// What this server takes in one datagram, and sends in one to a client that takes as much: it passes every link without
/// fragments (DNS flag day 2020).
pub(crate) const PAYLOAD: u16 = 1232;
/// What a client without EDNS takes.
const PLAIN_PAYLOAD: u16 = 512;
const HEADER: usize = 12;

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// A request that can be answered.
#[derive(Debug)]
pub(crate) struct Request {
    pub question: Query,
    pub dnssec_ok: bool,
    pub checking_disabled: bool,
    response: Message,
    limit: u16,
}

/// What came in.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A question.
    Request(Box<Request>),
    /// Something that has a right to an error.
    Refused(Message),
    /// Something that has no right to any answer: a response, or too short to be anything.
    Noise,
}

/// Reads a message. Never panics, whatever the bytes.
pub(crate) fn read(bytes: &[u8], transport: Transport) -> Incoming {
    // The response bit comes before everything: two servers must never talk to each other in errors.
    if bytes.len() < HEADER || bytes[2] & 0x80 != 0 {
        return Incoming::Noise;
    }
    let Ok(message) = Message::from_vec(bytes) else {
        let id = u16::from_be_bytes([bytes[0], bytes[1]]);
        let op_code = OpCode::from_u8((bytes[2] >> 3) & 0x0f);
        return Incoming::Refused(Message::error_msg(id, op_code, ResponseCode::FormErr));
    };
    let mut response = Message::new(message.metadata.id, MessageType::Response, message.metadata.op_code);
    response.metadata = Metadata::response_from_request(&message.metadata);
    response.metadata.recursion_available = true;
    response.queries.extend(message.queries.iter().take(1).cloned());
    let mut limit = PLAIN_PAYLOAD;
    let mut dnssec_ok = false;
    if let Some(asked) = &message.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        dnssec_ok = asked.flags().dnssec_ok;
        edns.flags_mut().dnssec_ok = dnssec_ok;
        response.set_edns(edns);
        limit = asked.max_payload().clamp(PLAIN_PAYLOAD, PAYLOAD);
        if asked.version() > 0 {
            return refused(response, ResponseCode::BADVERS);
        }
    }
    if message.metadata.op_code != OpCode::Query {
        return refused(response, ResponseCode::NotImp);
    }
    let [question] = &message.queries[..] else {
        return refused(response, ResponseCode::FormErr);
    };
    // CHAOS and ANY tell about servers, and this one tells nothing.
    if question.query_class != DNSClass::IN {
        return refused(response, ResponseCode::Refused);
    }
    Incoming::Request(Box::new(Request {
        question: question.clone(),
        dnssec_ok,
        checking_disabled: message.metadata.checking_disabled,
        response,
        limit: if transport == Transport::Udp { limit } else { u16::MAX },
    }))
}

fn refused(mut response: Message, code: ResponseCode) -> Incoming {
    response.metadata.response_code = code;
    Incoming::Refused(response)
}

impl Request {
    /// The bytes of a response, whose sections `fill` writes. What does not fit in the client's datagram is left out, and if that
    /// is anything but additional records, the client is told to ask again over TCP.
    pub fn respond(mut self, fill: impl FnOnce(&mut Message)) -> Vec<u8> {
        fill(&mut self.response);
        fit(self.response, usize::from(self.limit))
    }
}

/// The bytes of a message, of at most so many.
fn fit(mut message: Message, limit: usize) -> Vec<u8> {
    let bytes = encode(&message);
    if bytes.len() <= limit {
        return bytes;
    }
    if let Some(bytes) = most(&mut message, limit, |message| &mut message.additionals) {
        return bytes;
    }
    message.metadata.truncation = true;
    message.authorities.clear();
    most(&mut message, limit, |message| &mut message.answers).unwrap_or_else(|| encode(&message))
}

/// Keeps as many records of a section as fit; none if not even an empty one does.
fn most<T: Clone>(message: &mut Message, limit: usize, of: fn(&mut Message) -> &mut Vec<T>) -> Option<Vec<u8>> {
    let all = std::mem::take(of(message));
    let mut best = Some(encode(message)).filter(|bytes| bytes.len() <= limit)?;
    let (mut fits, mut too_many) = (0, all.len());
    while fits + 1 < too_many {
        let middle = fits.midpoint(too_many);
        *of(message) = all[..middle].to_vec();
        let bytes = encode(message);
        if bytes.len() <= limit {
            (fits, best) = (middle, bytes);
        } else {
            too_many = middle;
        }
    }
    Some(best)
}

/// The bytes of a message; what cannot be written at all (only more than 64 KiB) becomes a server failure.
pub(crate) fn encode(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap_or_else(|error| {
        tracing::debug!(%error, "writing a response");
        let failure = Message::error_msg(message.metadata.id, message.metadata.op_code, ResponseCode::ServFail);
        failure.to_vec().unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::rr::{Name, RData, Record, RecordType};

    use super::*;

    fn request(edns: Option<u16>) -> Request {
        let name = Name::from_ascii("big.shop.svc.cluster.local.").unwrap();
        let mut message = Message::query();
        message.add_query(Query::query(name, RecordType::A));
        if let Some(size) = edns {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            message.set_edns(edns);
        }
        match read(&message.to_vec().unwrap(), Transport::Udp) {
            Incoming::Request(request) => *request,
            other => panic!("{other:?}"),
        }
    }

    fn answered(request: Request, answers: usize, additionals: usize) -> (usize, Message) {
        let name = request.question.name.clone();
        let record = |n: usize| Record::from_rdata(name.clone(), 30, RData::A(Ipv4Addr::from(n as u32).into()));
        let bytes = request.respond(|message| {
            message.answers.extend((0..answers).map(record));
            message.additionals.extend((0..additionals).map(record));
        });
        (bytes.len(), Message::from_vec(&bytes).unwrap())
    }

    #[test]
    fn answers_that_do_not_fit_a_datagram_are_cut_and_say_so() {
        let (length, message) = answered(request(None), 100, 0);
        assert!(length <= 512 && message.metadata.truncation, "{length}");
        assert!(message.answers.len() > 20, "as many as fit: {}", message.answers.len());
        let (length, message) = answered(request(Some(4096)), 100, 0);
        assert!((1200..=1232).contains(&length) && message.metadata.truncation, "{length}");
    }

    #[test]
    fn additional_records_are_left_out_without_a_word() {
        let (length, message) = answered(request(None), 10, 100);
        assert!(length <= 512 && !message.metadata.truncation, "{length}");
        assert_eq!(message.answers.len(), 10);
        assert!(message.additionals.len() > 5);
    }

    #[test]
    fn a_response_is_never_answered_and_garbage_is_a_format_error() {
        let mut message = Message::query();
        message.metadata.message_type = MessageType::Response;
        assert!(matches!(read(&message.to_vec().unwrap(), Transport::Udp), Incoming::Noise));
        let garbage = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0];
        let Incoming::Refused(answer) = read(&garbage, Transport::Udp) else { panic!("not refused") };
        assert_eq!((answer.metadata.id, answer.metadata.response_code), (7, ResponseCode::FormErr));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            if let Incoming::Request(request) = read(&bytes, Transport::Udp) {
                proptest::prop_assert!(request.respond(|_| ()).len() <= 512);
            }
        }
    }
}
