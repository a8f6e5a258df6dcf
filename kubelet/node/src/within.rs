//! A limit on every call to the API server. A connection that was cut off says nothing for minutes: without a limit the node would
//! wait for it, and be silent long after the network is back.

use std::io;
use std::time::Duration;

/// The limit on one ordinary call.
pub const CALL: Duration = Duration::from_secs(10);

/// The call's result, or an error when there is none in time. The connection of a call that is given up is not used again.
pub async fn within<T>(limit: Duration, call: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
        let message = format!("the API server did not answer within {limit:?}");
        Err(kube::Error::Service(Box::new(io::Error::new(io::ErrorKind::TimedOut, message))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_hangs_ends_with_an_error_that_says_so() {
        let error = within(Duration::from_millis(5), std::future::pending::<kube::Result<()>>()).await.unwrap_err();
        assert!(error.to_string().contains("did not answer within 5ms"), "{error}");
    }
}
