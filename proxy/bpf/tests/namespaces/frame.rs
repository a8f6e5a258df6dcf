//! Packets as bytes, and the ingress program run on them without a wire (`BPF_PROG_TEST_RUN`).

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};

const ETHERNET: usize = 14;
const IPV4: usize = 20;

/// What a program wants done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `TC_ACT_UNSPEC`
    Pass,
    /// `TC_ACT_SHOT`
    Drop,
    /// `TC_ACT_REDIRECT`
    Redirect,
}

/// A TCP or UDP packet over IPv4 and Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub source_port: u16,
    pub destination_port: u16,
    pub udp: bool,
    /// Of TCP.
    pub flags: u8,
}

impl Frame {
    pub const SYN: u8 = 2;
    pub const RST: u8 = 4;
    pub const ACK: u8 = 16;

    /// With right checksums and some data.
    pub fn bytes(&self) -> Vec<u8> {
        let mut transport = [self.source_port.to_be_bytes(), self.destination_port.to_be_bytes()].concat();
        if self.udp {
            transport.extend([0, 8 + 4, 0, 0]);
        } else {
            transport.extend([1, 2, 3, 4, 0, 0, 0, 0, 5 << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        }
        transport.extend(b"data");
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        let length = (IPV4 + transport.len()) as u16;
        bytes.extend([0x45, 0, (length >> 8) as u8, length as u8, 0, 1, 0, 0, 64, if self.udp { 17 } else { 6 }, 0, 0]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(transport);
        let ip = checksum(&bytes[ETHERNET..ETHERNET + IPV4]);
        bytes[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&ip.to_be_bytes());
        let at = ETHERNET + IPV4 + if self.udp { 6 } else { 16 };
        let sum = checksum(&pseudo(&bytes));
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// None when it is something else.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (ip, transport) = (bytes.get(ETHERNET..ETHERNET + IPV4)?, bytes.get(ETHERNET + IPV4..)?);
        let udp = ip[9] == 17;
        if !udp && ip[9] != 6 {
            return None;
        }
        let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
        let port = |at: usize| u16::from_be_bytes([transport[at], transport[at + 1]]);
        Some(Self {
            source: address(12),
            destination: address(16),
            source_port: port(0),
            destination_port: port(2),
            udp,
            flags: if udp { 0 } else { transport[13] },
        })
    }

    /// Whether the IP header and what it carries sum up.
    pub fn checksums_are_right(bytes: &[u8]) -> bool {
        checksum(&bytes[ETHERNET..ETHERNET + IPV4]) == 0 && checksum(&pseudo(bytes)) == 0
    }
}

/// The transport part behind its pseudo header.
fn pseudo(bytes: &[u8]) -> Vec<u8> {
    let (ip, transport) = (&bytes[ETHERNET..ETHERNET + IPV4], &bytes[ETHERNET + IPV4..]);
    let mut all = ip[12..20].to_vec();
    all.extend([0, ip[9], (transport.len() >> 8) as u8, transport.len() as u8]);
    all.extend(transport);
    all
}

fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// Runs the pinned ingress program as if a packet had arrived on a device.
pub struct Runner {
    program: SchedClassifier,
    context: [u8; 44],
}

impl Runner {
    /// In the network namespace of this thread.
    pub fn open(bpf_root: &Path, device: &str) -> Self {
        let hash = fs::read_dir(bpf_root).expect("the root").flatten().next().expect("a directory").path();
        let program = SchedClassifier::from_pin(hash.join("programs/tc_ingress")).expect("the program");
        let index = nix::net::if_::if_nametoindex(device).expect("the device");
        // `ifindex` of `struct __sk_buff`.
        let mut context = [0; 44];
        context[40..].copy_from_slice(&index.to_ne_bytes());
        Self { program, context }
    }

    /// What is done with the packet, and how it looks then.
    pub fn run(&self, frame: &Frame) -> (Action, Vec<u8>) {
        let (input, mut output) = (frame.bytes(), vec![0; 2048]);
        let mut options = TestRunOptions::new();
        (options.data_in, options.ctx_in) = (Some(input.as_slice()), Some(self.context.as_slice()));
        options.data_out = Some(&mut output);
        let result = self.program.test_run(options).expect("run the program");
        let action = match result.return_value.cast_signed() {
            -1 => Action::Pass,
            2 => Action::Drop,
            7 => Action::Redirect,
            other => panic!("action {other}"),
        };
        let length = result.data_size_out as usize;
        output.truncate(length);
        (action, output)
    }

    /// How long one of `repeat` runs takes; the packet is not restored in between.
    pub fn time(&self, frame: &Frame, repeat: u32) -> Duration {
        let input = frame.bytes();
        let mut options = TestRunOptions::new();
        (options.data_in, options.ctx_in, options.repeat) =
            (Some(input.as_slice()), Some(self.context.as_slice()), repeat);
        self.program.test_run(options).expect("run the program").duration
    }
}
