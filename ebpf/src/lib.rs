//! The map ABI: keys and values of every BPF map, shared by the kernel programs and the proxy.
#![no_std]
