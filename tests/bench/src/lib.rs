//! Benchmarks: ratios against a peer or baseline in the same run.
