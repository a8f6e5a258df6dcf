//! What a load balancer's health check of a Service must be told.

use crate::Family;

/// `spec.healthCheckNodePort` of a Service of type LoadBalancer with externalTrafficPolicy Local.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthCheck {
    /// The port that answers.
    pub port: u16,
    /// How many IPv4 addresses of this node are ready endpoints of the Service, whatever the port.
    pub local_v4: usize,
    /// Likewise IPv6.
    pub local_v6: usize,
}

impl HealthCheck {
    /// What a check that came over this family is told.
    pub const fn local_endpoints(&self, family: Family) -> usize {
        match family {
            Family::V4 => self.local_v4,
            Family::V6 => self.local_v6,
        }
    }
}
