//! The test image's web server: hostname, client address, headers; echoes TCP and UDP.

fn main() {}
