//! The hooks at a device, the stack's (TC) and the driver's (XDP): what is asked of the packet in hand, and done to it,
//! in another way at each.

use core::ffi::c_void;
use core::mem::size_of;

use aya_ebpf::bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_NET;
use aya_ebpf::bindings::{__sk_buff, BPF_F_ADJ_ROOM_FIXED_GSO, BPF_F_RECOMPUTE_CSUM, xdp_md};
use aya_ebpf::helpers::generated::{bpf_skb_adjust_room, bpf_skb_pull_data, bpf_skb_store_bytes, bpf_xdp_adjust_head};
use aya_ebpf::programs::{TcContext, XdpContext};

use crate::extension::{self, Chain};
use crate::headers::{Ethernet, TRANSPORT, TRANSPORT6};

/// A hook, with its packet. Functions that are verified apart are given the kernel's own pointer.
pub trait Hook: Sized {
    /// What the kernel calls programs with.
    type Raw;

    /// Of the pointer that the program was called with.
    fn of(raw: *mut Self::Raw) -> Self;

    /// That pointer.
    fn raw(&self) -> *mut Self::Raw;

    /// The same for helpers.
    #[inline(always)]
    fn any(&self) -> *mut c_void {
        self.raw().cast()
    }

    /// Where the packet begins.
    fn data(&self) -> usize;

    /// Where what can be read of it ends.
    fn data_end(&self) -> usize;

    /// The device it arrived on, or leaves through.
    fn device(&self) -> u32;

    /// The protocol in its Ethernet header.
    fn protocol(&self) -> u32;

    /// How much of a stream each piece has that it will be cut into; zero when it is one.
    fn segment(&self) -> u32;

    /// Has the first `length` bytes, or as many as there are, where they can be read. Pointers are to be read afresh.
    fn pull(&self, length: usize);

    /// Follows IPv6 extension headers from `at` on, the first of which is a `next`.
    fn extensions(&self, at: usize, next: u8) -> Option<Chain>;

    /// Makes room behind the IP header's fixed part, which ends at `header`, or takes it. Pointers are to be read afresh.
    fn resize(&self, header: usize, difference: i32) -> Option<()>;

    /// Writes a header.
    fn store<T: Copy>(&self, at: usize, header: &T) -> Option<()>;
}

impl Hook for TcContext {
    type Raw = __sk_buff;

    #[inline(always)]
    fn of(raw: *mut __sk_buff) -> Self {
        Self::new(raw)
    }

    #[inline(always)]
    fn raw(&self) -> *mut __sk_buff {
        self.skb.skb
    }

    #[inline(always)]
    fn data(&self) -> usize {
        self.data()
    }

    #[inline(always)]
    fn data_end(&self) -> usize {
        self.data_end()
    }

    #[inline(always)]
    fn device(&self) -> u32 {
        // SAFETY: the context is the one this program was called with.
        unsafe { (*self.skb.skb).ifindex }
    }

    #[inline(always)]
    fn protocol(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.skb.skb).protocol }
    }

    #[inline(always)]
    fn segment(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.skb.skb).gso_size }
    }

    #[inline(always)]
    fn pull(&self, length: usize) {
        if self.data() + length > self.data_end() {
            // SAFETY: as above.
            unsafe {
                let all = (*self.skb.skb).len;
                bpf_skb_pull_data(self.skb.skb, if all < length as u32 { all } else { length as u32 });
            }
        }
    }

    #[inline(always)]
    fn extensions(&self, at: usize, next: u8) -> Option<Chain> {
        extension::follow(self.skb.skb, at, next)
    }

    #[inline(always)]
    fn resize(&self, _: usize, difference: i32) -> Option<()> {
        let flags = u64::from(BPF_F_ADJ_ROOM_FIXED_GSO);
        // SAFETY: as above.
        let resized = unsafe { bpf_skb_adjust_room(self.skb.skb, difference, BPF_ADJ_ROOM_NET, flags) };
        (resized == 0).then_some(())
    }

    #[inline(always)]
    fn store<T: Copy>(&self, at: usize, header: &T) -> Option<()> {
        // SAFETY: as above; the header is as long as its type.
        let stored = unsafe {
            let (bytes, length) = ((&raw const *header).cast(), size_of::<T>() as u32);
            bpf_skb_store_bytes(self.skb.skb.cast(), at as u32, bytes, length, u64::from(BPF_F_RECOMPUTE_CSUM))
        };
        (stored == 0).then_some(())
    }
}

impl Hook for XdpContext {
    type Raw = xdp_md;

    #[inline(always)]
    fn of(raw: *mut xdp_md) -> Self {
        Self::new(raw)
    }

    #[inline(always)]
    fn raw(&self) -> *mut xdp_md {
        self.ctx
    }

    #[inline(always)]
    fn data(&self) -> usize {
        self.data()
    }

    #[inline(always)]
    fn data_end(&self) -> usize {
        self.data_end()
    }

    #[inline(always)]
    fn device(&self) -> u32 {
        // SAFETY: the context is the one this program was called with.
        unsafe { (*self.ctx).ingress_ifindex }
    }

    #[inline(always)]
    fn protocol(&self) -> u32 {
        let data = self.data();
        if data + size_of::<Ethernet>() > self.data_end() {
            return 0;
        }
        // SAFETY: the header lies within the packet, as just checked.
        u32::from(unsafe { (*(data as *const Ethernet)).protocol })
    }

    /// A driver's packets are as they came from the wire.
    #[inline(always)]
    fn segment(&self) -> u32 {
        0
    }

    /// There is nothing more.
    #[inline(always)]
    fn pull(&self, _: usize) {}

    /// Left to the stack's hook.
    #[inline(always)]
    fn extensions(&self, _: usize, _: u8) -> Option<Chain> {
        None
    }

    /// There may be more room before a packet, and so what stands before the new room moves. Nothing is ever taken here.
    #[inline(always)]
    fn resize(&self, header: usize, difference: i32) -> Option<()> {
        // SAFETY: as above.
        if difference <= 0 || unsafe { bpf_xdp_adjust_head(self.ctx, -difference) } != 0 {
            return None;
        }
        let (data, more) = (self.data(), difference as usize);
        if data + header + more > self.data_end() {
            return None;
        }
        // SAFETY: within the packet, as just checked; either is a whole number of these words.
        unsafe {
            if header == TRANSPORT {
                forward::<{ TRANSPORT / 2 }>(data, more);
            } else {
                forward::<{ TRANSPORT6 / 2 }>(data, more);
            }
        }
        Some(())
    }

    #[inline(always)]
    fn store<T: Copy>(&self, at: usize, header: &T) -> Option<()> {
        let data = self.data();
        if data + at + size_of::<T>() > self.data_end() {
            return None;
        }
        // SAFETY: within the packet, as just checked; XDP may write it.
        unsafe { *((data + at) as *mut T) = *header };
        Some(())
    }
}

/// Moves so many words of two bytes from behind `more` bytes to the front.
///
/// # Safety
/// They are within the packet.
#[inline(always)]
unsafe fn forward<const WORDS: usize>(to: usize, more: usize) {
    // SAFETY: by the contract; the words are in hand between.
    unsafe {
        let words = *((to + more) as *const [u16; WORDS]);
        *(to as *mut [u16; WORDS]) = words;
    }
}
