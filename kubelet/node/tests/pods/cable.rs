//! The way from a kubelet to its API server, which a test can cut: what was sent is never answered, and what was open stays open
//! and silent, also after the cable is whole again. So do connections behave whose packets are dropped.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper::body::{Body as HttpBody, Frame};
use kube::client::Body;
use tokio::sync::watch;

#[derive(Clone)]
pub struct Cable {
    whole: watch::Sender<bool>,
    cuts: Arc<AtomicU64>,
}

impl Cable {
    pub fn new() -> Self {
        Self { whole: watch::channel(true).0, cuts: Arc::default() }
    }

    pub fn cut(&self) {
        self.cuts.fetch_add(1, Ordering::SeqCst);
        self.whole.send_replace(false);
    }

    pub fn mend(&self) {
        self.whole.send_replace(true);
    }

    /// The client, by way of this cable.
    pub fn through(&self, client: kube::Client) -> kube::Client {
        let cable = self.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let (cable, client) = (cable.clone(), client.clone());
            async move {
                let cuts = cable.cuts.load(Ordering::SeqCst);
                let silent = || std::future::pending::<()>();
                if !*cable.whole.borrow() {
                    silent().await;
                }
                let response = client.send(request).await?;
                if cable.cuts.load(Ordering::SeqCst) != cuts {
                    silent().await;
                }
                Ok::<_, tower::BoxError>(response.map(|body| Connection { body, cuts, cable }))
            }
        });
        kube::Client::new(service, "default")
    }
}

struct Connection {
    body: Body,
    cuts: u64,
    cable: Cable,
}

impl HttpBody for Connection {
    type Data = bytes::Bytes;
    type Error = kube::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.cable.cuts.load(Ordering::SeqCst) != self.cuts {
            return Poll::Pending;
        }
        Pin::new(&mut self.body).poll_frame(context)
    }
}
