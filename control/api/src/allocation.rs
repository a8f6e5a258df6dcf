//! Cluster IPs and node ports.

use serde_json::Value;

use crate::rest::Call;
use crate::server::ApiServer;
use crate::status::Status;

/// Addresses and ports taken for a Service that is not written yet; given back when dropped without [`Reservation::commit`].
#[derive(Debug, Default)]
pub struct Reservation;

impl Reservation {
    /// The Service is written: keep them.
    pub fn commit(self) {}
}

impl ApiServer {
    /// Allocates what a Service asks for.
    pub(crate) fn allocate(
        &self,
        _call: &Call,
        _object: &mut Value,
        _old: Option<&Value>,
    ) -> Result<Reservation, Status> {
        Ok(Reservation)
    }
}
