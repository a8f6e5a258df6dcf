//! The pause container: holds a pod's namespaces and reaps its children.

fn main() {}
