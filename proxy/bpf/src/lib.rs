//! The eBPF backend: makes the pinned BPF maps equal to the plan.
