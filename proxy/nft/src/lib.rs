//! The nftables backend: makes the kernel's map elements equal to the plan.
