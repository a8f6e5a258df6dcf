//! The sockets: UDP and TCP on every address, until told to stop.

mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::sync::Arc;

use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{Dns, Error};

impl Dns {
    /// Binds now, so that a taken address is an error at the start; what it returns serves until the token is cancelled.
    ///
    /// # Errors
    /// If an address is taken or not this machine's.
    pub async fn bind(self: &Arc<Self>) -> Result<Sockets, Error> {
        let mut sockets = Vec::new();
        for address in self.config.listen.iter().copied() {
            let failed = |protocol| move |source| Error::Listen { protocol, address, source };
            let tcp = TcpListener::bind(address).await.map_err(failed("tcp"))?;
            let udp = UdpSocket::bind(address).await.map_err(failed("udp"))?;
            sockets.push((Arc::new(udp), tcp));
        }
        Ok(Sockets { dns: self.clone(), sockets })
    }
}

/// Bound sockets that nobody reads yet.
pub struct Sockets {
    dns: Arc<Dns>,
    sockets: Vec<(Arc<UdpSocket>, TcpListener)>,
}

impl Sockets {
    /// Answers until the token is cancelled.
    pub async fn serve(self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        // Two readers of one socket keep it busy while one of them answers.
        for (udp, tcp) in self.sockets {
            for _ in 0..2 {
                tasks.spawn(udp::serve(self.dns.clone(), udp.clone(), stop.clone()));
            }
            tasks.spawn(tcp::serve(self.dns.clone(), tcp, stop.clone()));
        }
        while tasks.join_next().await.is_some() {}
    }
}
