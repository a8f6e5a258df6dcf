//! Packets as bytes, and the ingress program run on them without a wire (`BPF_PROG_TEST_RUN`).

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;

const ETHERNET: usize = 14;

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

/// A TCP or UDP packet over IP and Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub source_port: u16,
    pub destination_port: u16,
    pub udp: bool,
    /// Of TCP.
    pub flags: u8,
    /// Whether it has IPv4 options or IPv6 extension headers.
    pub dressed: bool,
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
        let protocol = if self.udp { 17 } else { 6 };
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                // Padding, and the option that ends the list.
                let options: &[u8] = if self.dressed { &[1, 1, 1, 1, 1, 1, 1, 0] } else { &[] };
                let length = (20 + options.len() + transport.len()) as u16;
                bytes.extend([8, 0, 0x45 + options.len() as u8 / 4, 0, (length >> 8) as u8, length as u8]);
                bytes.extend([0, 1, 0, 0, 64, protocol, 0, 0]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.extend(options);
                let sum = checksum(&bytes[ETHERNET..]);
                bytes[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum.to_be_bytes());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                // Hop-by-hop and destination options, of padding alone, the second of sixteen bytes.
                let pad = [1, 4, 0, 0, 0, 0];
                let first: Vec<u8> = [60, 0].into_iter().chain(pad).collect();
                let second = [protocol, 1].into_iter().chain(pad).chain([1, 6, 0, 0, 0, 0, 0, 0]);
                let headers: Vec<u8> =
                    if self.dressed { first.into_iter().chain(second).collect() } else { Vec::new() };
                let length = (headers.len() + transport.len()) as u16;
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, (length >> 8) as u8, length as u8]);
                bytes.extend([if self.dressed { 0 } else { protocol }, 64]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.extend(headers);
            }
            mixed => panic!("{mixed:?}"),
        }
        let at = bytes.len() + if self.udp { 6 } else { 16 };
        bytes.extend(transport);
        let sum = checksum(&pseudo(&bytes));
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// None when it is something else.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let parts = Parts::of(bytes)?;
        let transport = parts.transport;
        let port = |at: usize| u16::from_be_bytes([transport[at], transport[at + 1]]);
        let udp = parts.protocol == 17;
        if !udp && parts.protocol != 6 {
            return None;
        }
        Some(Self {
            source: parts.source,
            destination: parts.destination,
            source_port: port(0),
            destination_port: port(2),
            udp,
            flags: if udp { 0 } else { transport[13] },
            dressed: parts.dressed,
        })
    }

    /// Whether the IP header, if it has a checksum, and what it carries sum up.
    pub fn checksums_are_right(bytes: &[u8]) -> bool {
        let header = if bytes[ETHERNET] >> 4 == 4 { usize::from(bytes[ETHERNET] & 15) * 4 } else { 0 };
        (header == 0 || checksum(&bytes[ETHERNET..ETHERNET + header]) == 0) && checksum(&pseudo(bytes)) == 0
    }
}

/// A packet taken apart.
struct Parts<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    transport: &'a [u8],
    dressed: bool,
}

impl<'a> Parts<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let ip = bytes.get(ETHERNET..)?;
        if *ip.first()? >> 4 == 4 {
            let size = usize::from(ip[0] & 15) * 4;
            let address = |at: usize| <[u8; 4]>::try_from(&ip[at..at + 4]).ok().map(IpAddr::from);
            let (source, destination) = (address(12)?, address(16)?);
            return Some(Self { source, destination, protocol: ip[9], transport: ip.get(size..)?, dressed: size > 20 });
        }
        let address = |at: usize| <[u8; 16]>::try_from(&ip[at..at + 16]).ok().map(IpAddr::from);
        let (source, destination) = (address(8)?, address(24)?);
        let (mut protocol, mut at) = (ip[6], 40);
        while protocol == 0 || protocol == 60 {
            (protocol, at) = (*ip.get(at)?, at + (usize::from(*ip.get(at + 1)?) + 1) * 8);
        }
        Some(Self { source, destination, protocol, transport: ip.get(at..)?, dressed: at > 40 })
    }
}

/// The transport part behind its pseudo header.
fn pseudo(bytes: &[u8]) -> Vec<u8> {
    let Some(parts) = Parts::of(bytes) else { panic!("{bytes:?}") };
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let mut all = [octets(parts.source), octets(parts.destination)].concat();
    all.extend([0, parts.protocol, (parts.transport.len() >> 8) as u8, parts.transport.len() as u8]);
    all.extend(parts.transport);
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
    driver: Option<Xdp>,
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
        Self { program, context, driver: None }
    }

    /// With the driver's program before it.
    pub fn open_both(bpf_root: &Path, device: &str) -> Self {
        let hash = fs::read_dir(bpf_root).expect("the root").flatten().next().expect("a directory").path();
        let driver = Xdp::from_pin(hash.join("programs/xdp_ingress"), XdpAttachType::Interface).expect("the program");
        Self { driver: Some(driver), ..Self::open(bpf_root, device) }
    }

    /// What is done with the packet, and how it looks then.
    pub fn run(&self, frame: &Frame) -> (Action, Vec<u8>) {
        self.run_bytes(&frame.bytes())
    }

    /// [`Runner::run`] of a packet in bytes, its Ethernet header included.
    pub fn run_bytes(&self, input: &[u8]) -> (Action, Vec<u8>) {
        match self.run_driver(input) {
            Some((Action::Pass, output)) => {
                assert_eq!(output, input, "what a driver passes on is as it came");
                self.run_stack(input)
            }
            Some(done) => done,
            None => self.run_stack(input),
        }
    }

    /// What the driver does with the packet.
    pub fn run_driver(&self, input: &[u8]) -> Option<(Action, Vec<u8>)> {
        // `struct xdp_md`: the packet's end and the device it arrived on.
        let mut context = [0; 24];
        context[4..8].copy_from_slice(&(input.len() as u32).to_ne_bytes());
        context[12..16].copy_from_slice(&self.context[40..]);
        let mut output = vec![0; 2048];
        let mut options = TestRunOptions::new();
        (options.data_in, options.ctx_in) = (Some(input), Some(context.as_slice()));
        options.data_out = Some(&mut output);
        let result = self.driver.as_ref()?.test_run(options).expect("run the program");
        let action = match result.return_value {
            1 => Action::Drop,
            2 => Action::Pass,
            4 => Action::Redirect,
            other => panic!("action {other}"),
        };
        let length = result.data_size_out as usize;
        output.truncate(length);
        Some((action, output))
    }

    fn run_stack(&self, input: &[u8]) -> (Action, Vec<u8>) {
        let mut output = vec![0; 2048];
        let mut options = TestRunOptions::new();
        (options.data_in, options.ctx_in) = (Some(input), Some(self.context.as_slice()));
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
