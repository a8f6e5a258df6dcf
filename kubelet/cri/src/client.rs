//! The connection and one method per call. `runtime` and `image` hold the methods of the two services.

mod image;
mod runtime;

pub use runtime::ContainerEvents;

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};

use crate::CriError;
use crate::v1::image_service_client::ImageServiceClient;
use crate::v1::runtime_service_client::RuntimeServiceClient;

/// The kubelet's own limit on one message.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;
/// The kubelet's `runtimeRequestTimeout`.
const DEADLINE: Duration = Duration::from_secs(120);

/// A client of one container runtime. Cheap to clone: all clones share one HTTP/2 connection.
#[derive(Debug, Clone)]
pub struct CriClient {
    socket: PathBuf,
    runtime: RuntimeServiceClient<Channel>,
    image: ImageServiceClient<Channel>,
}

impl CriClient {
    /// A client of the runtime that listens on `socket`. Connects on first use, so that the runtime may still be starting.
    /// Must be called within a tokio runtime.
    pub fn new(socket: impl AsRef<Path>) -> Self {
        let path = socket.as_ref().to_path_buf();
        let connect_to = path.clone();
        // The authority is never resolved: the connector below ignores it.
        let channel =
            Endpoint::from_static("http://localhost").connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
                let path = connect_to.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            }));
        Self {
            socket: path,
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE),
            image: ImageServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE),
        }
    }

    /// The socket that this client speaks to.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

/// Ten years: what a deadline may be at most.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A request with a deadline, which the runtime is told as well.
fn within<T>(limit: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    // More than this cannot be told to the runtime.
    request.set_timeout(limit.min(LONGEST));
    request
}

/// Names the call and the object in an error.
fn named<T>(call: &'static str, object: &str, result: Result<tonic::Response<T>, Status>) -> Result<T, CriError> {
    result.map(tonic::Response::into_inner).map_err(|status| CriError::new(call, object, &status))
}

/// The same for a field that the protocol lets be absent and no runtime leaves out.
fn required<T>(call: &'static str, object: &str, field: Option<T>) -> Result<T, CriError> {
    field.ok_or_else(|| CriError::new(call, object, &Status::internal("the runtime's reply lacks its status")))
}
