//! The test bed: a machine is a network namespace with its own mounts, cgroup, containerd and agents.
