//! The CRI v1 client: gRPC over containerd's socket.
