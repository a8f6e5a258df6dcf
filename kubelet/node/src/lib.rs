//! The kubelet: pods over CRI, probes, volumes, status, and the kubelet's HTTP API.
