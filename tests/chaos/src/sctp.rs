//! The two packets that begin an SCTP association, INIT and INIT ACK (RFC 9260), over raw sockets: kernels without sockets of SCTP
//! translate its addresses all the same. The checksum covers ports alone, but whoever translates them must get it right.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, Socket, Type};

const SCTP: i32 = 132;
const RAW: i32 = 3;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
/// The parameter of an INIT ACK that may hold anything.
const COOKIE: u16 = 7;
/// Ports, verification tag and checksum.
const HEADER: usize = 12;
/// Type, flags, length, tag, window, streams out and in, first number.
const CHUNK: usize = 20;

/// A raw socket of SCTP in the family of an address. It has no port; whom it is connected to is the only one whom it hears.
pub(crate) fn socket(family: IpAddr) -> io::Result<UdpSocket> {
    let domain = if family.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::from(RAW), Some(Protocol::from(SCTP)))?;
    Ok(OwnedFd::from(socket).into())
}

/// An INIT, or with a cookie an INIT ACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    pub source_port: u16,
    pub port: u16,
    /// The tag that the receiver asked for; 0 in an INIT.
    pub verification: u32,
    /// The tag that the sender asks for.
    pub tag: u32,
    pub cookie: Option<String>,
    /// Whether the checksum was right when it came.
    pub sound: bool,
}

impl Packet {
    /// The first packet of an association.
    pub(crate) fn init(source_port: u16, port: u16, tag: u32) -> Self {
        Self { source_port, port, verification: 0, tag, cookie: None, sound: true }
    }

    /// The INIT ACK for an INIT; none for what is no sound INIT.
    pub(crate) fn answer(&self, cookie: &str) -> Option<Self> {
        let (source_port, port, verification, tag) = (self.port, self.source_port, self.tag, !self.tag);
        let asks = self.cookie.is_none() && self.sound;
        asks.then(|| Self { source_port, port, verification, tag, cookie: Some(cookie.into()), sound: true })
    }

    /// From the SCTP header on.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.source_port.to_be_bytes(), self.port.to_be_bytes()].concat();
        bytes.extend(self.verification.to_be_bytes());
        bytes.extend([0; 4]);
        let cookie = self.cookie.as_deref().map_or(&[][..], str::as_bytes);
        let length = CHUNK + if self.cookie.is_some() { 4 + cookie.len() } else { 0 };
        bytes.extend([if self.cookie.is_some() { INIT_ACK } else { INIT }, 0]);
        bytes.extend((length as u16).to_be_bytes());
        bytes.extend(self.tag.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 1, 0, 1]);
        bytes.extend(self.tag.to_be_bytes());
        if self.cookie.is_some() {
            bytes.extend(COOKIE.to_be_bytes());
            bytes.extend((4 + cookie.len() as u16).to_be_bytes());
            bytes.extend(cookie);
        }
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let sum = crc32c(&bytes).to_le_bytes();
        bytes[8..HEADER].copy_from_slice(&sum);
        bytes
    }

    /// What a raw socket of the family gave: IPv4's come with their IP header. None if it is neither of the two.
    pub(crate) fn read(family: IpAddr, bytes: &[u8]) -> Option<Self> {
        let header = if family.is_ipv4() { usize::from(bytes.first()? & 15) * 4 } else { 0 };
        let bytes = bytes.get(header..)?;
        let half = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let parameter = HEADER + CHUNK;
        let cookie = match *bytes.get(HEADER)? {
            INIT => None,
            INIT_ACK if half(parameter)? == COOKIE => {
                let text = bytes.get(parameter + 4..parameter + usize::from(half(parameter + 2)?))?;
                Some(String::from_utf8_lossy(text).into_owned())
            }
            _ => return None,
        };
        let mut blank = bytes.to_vec();
        blank.get_mut(8..HEADER)?.fill(0);
        let sound = crc32c(&blank).to_le_bytes() == bytes[8..HEADER];
        let (verification, tag) = (word(4)?, word(HEADER + 4)?);
        Some(Self { source_port: half(0)?, port: half(2)?, verification, tag, cookie, sound })
    }
}

/// The ports of the SCTP packet that a port unreachable, as a raw socket of the family's ICMP gives it, is about.
pub(crate) fn refused(family: IpAddr, bytes: &[u8]) -> Option<(u16, u16)> {
    let after_v4 = |bytes: &[u8]| bytes.first().map(|first| usize::from(first & 15) * 4);
    let (message, unreachable) = match family {
        IpAddr::V4(_) => (bytes.get(after_v4(bytes)?..)?, [3, 3]),
        IpAddr::V6(_) => (bytes, [1, 4]),
    };
    let quoted = message.strip_prefix(&unreachable)?.get(6..)?;
    let (protocol, ports) = match family {
        IpAddr::V4(_) => (*quoted.get(9)?, quoted.get(after_v4(quoted)?..)?),
        IpAddr::V6(_) => (*quoted.get(6)?, quoted.get(40..)?),
    };
    let half = |at: usize| Some(u16::from_be_bytes(ports.get(at..at + 2)?.try_into().ok()?));
    (i32::from(protocol) == SCTP).then_some((half(0)?, half(2)?))
}

/// SCTP's checksum (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn an_init_and_its_answer_are_read_back() {
        let any = Ipv6Addr::UNSPECIFIED.into();
        let init = Packet::init(1234, 80, 0xdead_beef);
        assert_eq!(Packet::read(any, &init.bytes()), Some(init.clone()));
        let answer = init.answer("here:80 10.0.0.1:1234").unwrap();
        assert_eq!((answer.port, answer.verification), (1234, 0xdead_beef));
        assert_eq!(Packet::read(any, &answer.bytes()), Some(answer.clone()));
        assert_eq!(answer.answer("again"), None);
        let mut wrong = init.bytes();
        wrong[1] ^= 1;
        assert_eq!(Packet::read(any, &wrong).and_then(|packet| packet.answer("no")), None);
    }

    #[test]
    fn a_port_unreachable_names_the_packet_that_it_is_about() {
        let init = Packet::init(1234, 80, 7).bytes();
        let [v4, v6] = [IpAddr::from([0; 4]), Ipv6Addr::UNSPECIFIED.into()];
        let header = |protocol: u8| [&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol][..], &[0; 10]].concat();
        let of_v4 =
            |code: u8, quoted: u8| [&header(1)[..], &[3, code, 0, 0, 0, 0, 0, 0], &header(quoted), &init].concat();
        assert_eq!(refused(v4, &of_v4(3, 132)), Some((1234, 80)));
        assert_eq!((refused(v4, &of_v4(2, 132)), refused(v4, &of_v4(3, 17))), (None, None));
        let quoted = [&[0x60, 0, 0, 0, 0, 32, 132, 64][..], &[0; 32], &init].concat();
        assert_eq!(refused(v6, &[&[1, 4, 0, 0, 0, 0, 0, 0], &quoted[..]].concat()), Some((1234, 80)));
        assert_eq!(refused(v6, &[&[1, 0, 0, 0, 0, 0, 0, 0], &quoted[..]].concat()), None);
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
