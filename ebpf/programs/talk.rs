//! What unconnected UDP sockets say to Services: to which endpoint, and from whom the answers are.

use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use orlop_ebpf::{AnswerKey, Backend, Peer, TALKS, Talk, TalkKey, Talks};

use crate::maps::{OTHER_ANSWERS, OTHER_TALKS};
use crate::sockaddr::Call;

/// `nf_conntrack_udp_timeout_stream`.
const SILENCE: u64 = 120_000_000_000;

/// The clock of talks: exact, for their order counts.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: takes nothing, gives a number.
    unsafe { bpf_ktime_get_ns() }
}

/// Whether a talk goes on.
#[inline(always)]
pub fn lasts(talk: &Talk, now: u64) -> bool {
    talk.seen != 0 && now.saturating_sub(talk.seen) <= SILENCE
}

/// What the socket says to a Service, and has said lately.
#[inline(always)]
pub fn find(call: &Call, peer: &Peer, now: u64) -> Option<Talk> {
    if let Some(talks) = call.talks(false) {
        let mut i = 0;
        while i < TALKS {
            if talks.all[i].peer == *peer && lasts(&talks.all[i], now) {
                return Some(talks.all[i]);
            }
            i += 1;
        }
    }
    let key = TalkKey { cookie: call.cookie(), peer: *peer, zero: 0 };
    // SAFETY: copied at once; an entry reused under us is checked against the Service by whoever asks.
    unsafe { OTHER_TALKS.get(&key) }.copied().filter(|talk| lasts(talk, now))
}

/// Whether the socket says something to another Service by the same endpoint, so that answers could be either's.
#[inline(always)]
pub fn is_ambiguous(call: &Call, peer: &Peer, backend: &Backend, now: u64) -> bool {
    let Some(talks) = call.talks(false) else { return false };
    let mut i = 0;
    while i < TALKS {
        let talk = &talks.all[i];
        if talk.backend == *backend && talk.peer != *peer && lasts(talk, now) {
            return true;
        }
        i += 1;
    }
    false
}

/// Remembers a talk: in the socket, in the place it has or a free one; or else among those of all sockets. False when
/// there is no room at all.
#[inline(always)]
pub fn remember(call: &Call, talk: &Talk) -> bool {
    let Some(talks) = call.talks(true) else { return false };
    if let Some(place) = place(talks, talk) {
        *place = *talk;
        return true;
    }
    let cookie = call.cookie();
    let key = TalkKey { cookie, peer: talk.peer, zero: 0 };
    let answer = AnswerKey { cookie, backend: talk.backend, zero: 0 };
    OTHER_TALKS.insert(&key, talk, u64::from(BPF_ANY)).is_ok()
        && OTHER_ANSWERS.insert(&answer, talk, u64::from(BPF_ANY)).is_ok()
}

#[inline(always)]
fn place<'a>(talks: &'a mut Talks, talk: &Talk) -> Option<&'a mut Talk> {
    let mut free = TALKS;
    let mut i = 0;
    while i < TALKS {
        if talks.all[i].peer == talk.peer {
            free = i;
            break;
        }
        if free == TALKS && !lasts(&talks.all[i], talk.seen) {
            free = i;
        }
        i += 1;
    }
    talks.all.get_mut(free)
}

/// The Service that an endpoint's answer is from; the one spoken to last, should there be two.
#[inline(always)]
pub fn asked(call: &Call, backend: &Backend) -> Option<Peer> {
    let talks = call.talks(false)?;
    let (mut latest, mut peer) = (0, None);
    let mut i = 0;
    while i < TALKS {
        let talk = &talks.all[i];
        if talk.seen > latest && talk.backend == *backend {
            (latest, peer) = (talk.seen, Some(talk.peer));
        }
        i += 1;
    }
    let key = AnswerKey { cookie: call.cookie(), backend: *backend, zero: 0 };
    // SAFETY: copied at once; an entry reused under us is another socket's, and one answer shows its endpoint.
    match unsafe { OTHER_ANSWERS.get(&key) }.copied() {
        Some(talk) if talk.seen > latest => Some(talk.peer),
        _ => peer,
    }
}
