//! Whether a Node suits a pod: taints and tolerations, node selectors and affinity. Pure, and the same for the scheduler, for
//! DaemonSets and for eviction (`k8s.io/component-helpers/scheduling/corev1`).

pub mod node_affinity;
pub mod taints;
