//! The kernel programs: one file per hook over a few shared ones. `cargo xtask build-ebpf` builds them.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod balance;
mod checksum;
mod connect;
mod counter;
mod direct;
mod early;
mod egress;
mod errors;
mod established;
mod extension;
mod headers;
mod hook;
mod ingress;
mod maps;
mod open;
mod packet;
mod peer;
mod receive;
mod refuse;
mod release;
mod route;
mod send;
mod sockaddr;
mod talk;
mod track;
mod translate;

use orlop_ebpf::ABI_HASH;

/// The ABI these programs were built for: the loader looks for it in the object.
#[unsafe(no_mangle)]
static ORLOP_ABI: u64 = ABI_HASH;

/// The dual licence that the kernel's GPL-only helpers ask for.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
