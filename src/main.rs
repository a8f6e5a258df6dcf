//! Orlop: Kubernetes on the lowest deck. Parses the command and calls a room; nothing else lives here.

fn main() {}
