//! The context of the cgroup socket address hooks, for both families.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{BPF_ANY, bpf_sock_addr};
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval};
use aya_ebpf::programs::SockAddrContext;
use orlop_ebpf::{Address, Connection, TCP, Talks, UDP};

use crate::balance;
use crate::maps::{CONNECTED_UDP, SOCKET_CONNECTIONS, SOCKET_TALKS};

/// Let the call go on.
pub const ALLOW: i32 = 1;
/// Make the call fail.
pub const DENY: i32 = 0;

const ECONNREFUSED: i32 = 111;

/// Which family the hook is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// The `4` hooks.
    V4,
    /// The `6` hooks, which v4-mapped addresses pass too.
    V6,
}

/// A socket call and the address in it.
pub struct Call {
    context: SockAddrContext,
    family: Family,
}

impl Call {
    /// Of a hook's context.
    #[inline(always)]
    pub fn new(context: SockAddrContext, family: Family) -> Self {
        Self { context, family }
    }

    #[inline(always)]
    fn raw(&self) -> *mut bpf_sock_addr {
        self.context.sock_addr
    }

    /// TCP or UDP; anything else is not ours.
    #[inline(always)]
    pub fn protocol(&self) -> Option<u8> {
        // SAFETY: the kernel gives a valid context; the verifier admits word reads of this field.
        let protocol = unsafe { (&raw const (*self.raw()).protocol).read_volatile() };
        if protocol == u32::from(TCP) {
            Some(TCP)
        } else if protocol == u32::from(UDP) {
            Some(UDP)
        } else {
            None
        }
    }

    /// Whether it is a UDP socket's.
    #[inline(always)]
    pub fn is_datagram(&self) -> bool {
        self.protocol() == Some(UDP)
    }

    /// The address in the call.
    #[inline(always)]
    pub fn address(&self) -> Address {
        let raw = self.raw();
        // SAFETY: as for the protocol; volatile keeps the compiler from merging the words.
        unsafe {
            match self.family {
                Family::V4 => Address::v4((&raw const (*raw).user_ip4).read_volatile()),
                Family::V6 => Address {
                    words: [
                        (&raw const (*raw).user_ip6[0]).read_volatile(),
                        (&raw const (*raw).user_ip6[1]).read_volatile(),
                        (&raw const (*raw).user_ip6[2]).read_volatile(),
                        (&raw const (*raw).user_ip6[3]).read_volatile(),
                    ],
                },
            }
        }
    }

    /// The port in the call, network order.
    #[inline(always)]
    pub fn port(&self) -> u16 {
        // SAFETY: as for the protocol.
        unsafe { (&raw const (*self.raw()).user_port).read_volatile() as u16 }
    }

    /// Puts another address and port into the call.
    #[inline(always)]
    pub fn set(&self, address: &Address, port: u16) {
        let raw = self.raw();
        // SAFETY: the hooks this is used in may write these words.
        unsafe {
            match self.family {
                Family::V4 => (&raw mut (*raw).user_ip4).write_volatile(address.words[3]),
                Family::V6 => {
                    (&raw mut (*raw).user_ip6[0]).write_volatile(address.words[0]);
                    (&raw mut (*raw).user_ip6[1]).write_volatile(address.words[1]);
                    (&raw mut (*raw).user_ip6[2]).write_volatile(address.words[2]);
                    (&raw mut (*raw).user_ip6[3]).write_volatile(address.words[3]);
                }
            }
            (&raw mut (*raw).user_port).write_volatile(u32::from(port));
        }
    }

    /// Whether an endpoint's address fits into this call: an IPv4 socket has no room for IPv6.
    #[inline(always)]
    pub fn fits(&self, address: &Address) -> bool {
        match self.family {
            Family::V4 => address.is_v4(),
            Family::V6 => true,
        }
    }

    /// The socket's cookie.
    #[inline(always)]
    pub fn cookie(&self) -> u64 {
        // SAFETY: the context is the one this program was called with.
        unsafe { bpf_get_socket_cookie(self.context.as_ptr()) }
    }

    /// Remembers what the socket is connected to; false when the kernel has no memory for it.
    #[inline(always)]
    pub fn remember(&self, connection: &Connection) -> bool {
        if self.protocol() == Some(UDP) && CONNECTED_UDP.insert(&self.cookie(), connection, u64::from(BPF_ANY)).is_err()
        {
            return false;
        }
        // SAFETY: the context is the one this program was called with; the kernel copies the value.
        unsafe {
            let mut value = *connection;
            match SOCKET_CONNECTIONS.get_or_insert_ptr_mut(&self.context, Some(&mut value)).as_mut() {
                Some(place) => {
                    *place = *connection;
                    true
                }
                None => false,
            }
        }
    }

    /// What the socket is connected to, if we made that connection.
    #[inline(always)]
    pub fn connection(&self) -> Option<&'static Connection> {
        // SAFETY: the context is the one this program was called with; the socket outlives the call.
        unsafe { SOCKET_CONNECTIONS.get_ptr_mut(&self.context).as_ref() }
    }

    /// The Services the socket sends to, with `make` also of one that has not sent to any.
    #[inline(always)]
    pub fn talks(&self, make: bool) -> Option<&'static mut Talks> {
        // SAFETY: as above; two threads of one socket may write at once, and one of them loses its place.
        unsafe {
            if make {
                SOCKET_TALKS.get_or_insert_ptr_mut(&self.context, None).as_mut()
            } else {
                SOCKET_TALKS.get_ptr_mut(&self.context).as_mut()
            }
        }
    }

    /// The cookie of the socket's network namespace.
    #[inline(always)]
    pub fn netns(&self) -> u64 {
        // SAFETY: as for the socket's cookie.
        unsafe { bpf_get_netns_cookie(self.context.as_ptr()) }
    }

    /// Whether it is made in the node's own network namespace.
    #[inline(always)]
    pub fn is_nodes(&self) -> bool {
        balance::config().is_some_and(|config| config.netns == self.netns())
    }

    /// The address the socket is bound to; unspecified when to none.
    #[inline(always)]
    pub fn bound(&self) -> Address {
        // SAFETY: as for the address; the kernel never gives a call without a socket.
        unsafe {
            let socket = (&raw const (*self.raw()).__bindgen_anon_1.sk).read_volatile();
            match self.family {
                Family::V4 => Address::v4((&raw const (*socket).src_ip4).read_volatile()),
                Family::V6 => Address {
                    words: [
                        (&raw const (*socket).src_ip6[0]).read_volatile(),
                        (&raw const (*socket).src_ip6[1]).read_volatile(),
                        (&raw const (*socket).src_ip6[2]).read_volatile(),
                        (&raw const (*socket).src_ip6[3]).read_volatile(),
                    ],
                },
            }
        }
    }

    /// Makes the call fail as it does when the other side refuses.
    #[inline(always)]
    pub fn refuse(&self) -> i32 {
        // SAFETY: takes a number.
        unsafe { bpf_set_retval(-ECONNREFUSED) };
        DENY
    }
}
