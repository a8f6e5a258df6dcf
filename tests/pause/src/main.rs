//! The pause container: holds a pod's namespaces and reaps its children.
//!
//! As process 1 of a pod that shares its process namespace it inherits orphans; it must wait for them, and end at SIGTERM.
//! Signals that have a handler reach process 1 also inside its own pid namespace; without one the kernel drops them.
#![allow(unsafe_code)] // three libc calls; there is nothing else in this program

use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_signal: libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
}

extern "C" fn child(_signal: libc::c_int) {}

fn main() {
    let handlers: [(libc::c_int, extern "C" fn(libc::c_int)); 3] =
        [(libc::SIGTERM, stop), (libc::SIGINT, stop), (libc::SIGCHLD, child)];
    for (signal, handler) in handlers {
        // SAFETY: the handlers only store to an atomic or do nothing, which is async-signal-safe.
        unsafe { libc::signal(signal, handler as *const () as libc::sighandler_t) };
    }
    while !STOP.load(Ordering::Relaxed) {
        // SAFETY: waitpid with a null status pointer writes nothing.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
        // SAFETY: poll with no descriptors reads nothing; a signal ends it early, the timeout closes the race with one
        // that came just before.
        unsafe { libc::poll(std::ptr::null_mut(), 0, 10_000) };
    }
}
