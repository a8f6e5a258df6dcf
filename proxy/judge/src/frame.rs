//! First packets of flows as bytes, from the IP header on, each with a token by which it and its answers are known.

use std::net::IpAddr;

use orlop_plan::{Family, Protocol};

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// A packet that begins a flow: a TCP SYN, a UDP datagram or an SCTP INIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct First {
    /// Source address.
    pub source: IpAddr,
    /// Source port.
    pub source_port: u16,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port.
    pub port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// A number that no address translation touches.
    pub token: u32,
}

/// What somebody received, by token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A flow's first packet, and whether its checksums are right.
    First(First, bool),
    /// A reset or a port unreachable.
    Refused(u32),
    /// The answer of a stack that took the packet for its own: a SYN and ACK, or that it does not know the protocol.
    Taken(u32),
}

impl First {
    /// The packet from its IP header on.
    pub fn bytes(&self) -> Vec<u8> {
        let mut transport = [self.source_port.to_be_bytes(), self.port.to_be_bytes()].concat();
        let token = self.token.to_be_bytes();
        match self.protocol {
            Protocol::Tcp => {
                transport.extend(token);
                transport.extend([0, 0, 0, 0, 5 << 4, SYN, 0xff, 0xff, 0, 0, 0, 0]);
            }
            Protocol::Udp => {
                transport.extend([0, 12, 0, 0]);
                transport.extend(token);
            }
            Protocol::Sctp => {
                transport.extend([0; 8]);
                transport.extend([1, 0, 0, 20]);
                transport.extend(token);
                transport.extend([0, 0, 0xff, 0xff, 0, 1, 0, 1]);
                transport.extend(token);
            }
        }
        let at = match self.protocol {
            Protocol::Tcp => 16,
            Protocol::Udp => 6,
            Protocol::Sctp => 8,
        };
        if self.protocol == Protocol::Sctp {
            let sum = crc32c(&transport);
            transport[at..at + 4].copy_from_slice(&sum.to_le_bytes());
        } else {
            let sum = match self.sum(&transport) {
                0 if self.protocol == Protocol::Udp => 0xffff,
                sum => sum,
            };
            transport[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        let mut bytes = self.header(transport.len());
        bytes.extend(transport);
        bytes
    }

    fn header(&self, length: usize) -> Vec<u8> {
        let number = self.protocol.number();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let [high, low] = ((20 + length) as u16).to_be_bytes();
                let mut header = vec![0x45, 0, high, low, 0, 1, 0, 0, 64, number, 0, 0];
                header.extend(source.octets());
                header.extend(destination.octets());
                let sum = checksum(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                header
            }
            (source, destination) => {
                let [high, low] = (length as u16).to_be_bytes();
                let mut header = vec![0x60, 0, 0, 0, high, low, number, 64];
                header.extend(octets(source));
                header.extend(octets(destination));
                header
            }
        }
    }

    /// The Internet checksum of a transport part behind its pseudo header; 0 if the one inside is right.
    fn sum(&self, transport: &[u8]) -> u16 {
        let mut all = [octets(self.source), octets(self.destination)].concat();
        all.extend((transport.len() as u32).to_be_bytes());
        all.extend([0, 0, 0, self.protocol.number()]);
        all.extend(transport);
        checksum(&all)
    }

    /// The family of its addresses.
    pub const fn family(&self) -> Family {
        Family::of(self.destination)
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The parts of an IP packet: source, destination, protocol, payload.
fn split(bytes: &[u8]) -> Option<(IpAddr, IpAddr, u8, &[u8])> {
    let v4 = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?));
    let v6 = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?));
    match bytes.first()? >> 4 {
        4 => Some((v4(12)?, v4(16)?, *bytes.get(9)?, bytes.get(usize::from(bytes[0] & 15) * 4..)?)),
        6 => Some((v6(8)?, v6(24)?, *bytes.get(6)?, bytes.get(40..)?)),
        _ => None,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Where a protocol carries the token.
const fn token_at(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Tcp => 4,
        Protocol::Udp => 8,
        Protocol::Sctp => 16,
    }
}

/// Reads an IP packet; none if it is nothing of ours.
pub fn read(bytes: &[u8]) -> Option<Seen> {
    let (source, destination, number, rest) = split(bytes)?;
    if number == ICMP || number == ICMPV6 {
        let quoted = rest.get(8..)?;
        let (_, _, number, quoted) = split(quoted)?;
        let token = word(quoted, token_at(Protocol::from_number(number)?))?;
        return match (bytes[0] >> 4, rest[0], rest[1]) {
            (4, 3, 3) | (6, 1, 4) => Some(Seen::Refused(token)),
            (4, 3, 2) | (6, 4, 1) => Some(Seen::Taken(token)),
            _ => None,
        };
    }
    segment(source, destination, Protocol::from_number(number)?, rest)
}

/// Reads a transport segment without its IP header, as raw sockets of IPv6 give it.
pub fn segment(source: IpAddr, destination: IpAddr, protocol: Protocol, bytes: &[u8]) -> Option<Seen> {
    if protocol == Protocol::Tcp {
        let answered = word(bytes, 8)?.wrapping_sub(1);
        match *bytes.get(13)? & (SYN | ACK | RST) {
            SYN => {}
            flags if flags & RST != 0 => return Some(Seen::Refused(answered)),
            flags if flags == SYN | ACK => return Some(Seen::Taken(answered)),
            _ => return None,
        }
    }
    let first = First {
        source,
        source_port: half(bytes, 0)?,
        destination,
        port: half(bytes, 2)?,
        protocol,
        token: word(bytes, token_at(protocol))?,
    };
    let sound = match protocol {
        Protocol::Sctp => {
            let mut blank = bytes.to_vec();
            blank.get_mut(8..12)?.fill(0);
            crc32c(&blank).to_le_bytes() == bytes[8..12]
        }
        _ => first.sum(bytes) == 0,
    };
    Some(Seen::First(first, sound))
}

/// Reads an ICMP message of IPv6 without its IP header.
pub fn icmpv6(bytes: &[u8]) -> Option<Seen> {
    let mut whole = vec![0x60, 0, 0, 0, 0, 0, ICMPV6, 64];
    whole.extend([0; 32]);
    whole.extend(bytes);
    read(&whole)
}

fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// SCTP's checksum (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_read_back_and_its_checksums_are_right() {
        for (source, destination) in [("10.244.1.5", "10.96.0.10"), ("fd00::5", "fd00:96::10")] {
            for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
                let first = First {
                    source: source.parse().unwrap(),
                    source_port: 1234,
                    destination: destination.parse().unwrap(),
                    port: 80,
                    protocol,
                    token: 0xdead_beef,
                };
                assert_eq!(read(&first.bytes()), Some(Seen::First(first, true)));
                let mut wrong = first.bytes();
                *wrong.last_mut().unwrap() ^= 1;
                assert!(matches!(read(&wrong), Some(Seen::First(_, false))));
            }
        }
    }

    #[test]
    fn the_checksum_of_sctp_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
