//! `/exec`, `/attach` and `/portForward`: the runtime prepares a stream and says where; the kubelet passes the client's upgrade
//! request on to there, and then bytes both ways. What is spoken over them (SPDY or WebSocket) is between client and runtime.

use std::collections::HashMap;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use orlop_cri::v1::{
    AttachRequest, ContainerFilter, ContainerState, ContainerStateValue, ExecRequest, PodSandboxFilter,
    PodSandboxState, PodSandboxStateValue, PortForwardRequest,
};
use tokio::net::TcpStream;

use super::query::Query;
use super::routes::{Body, plain};
use crate::kubelet::Kubelet;
use crate::pod;
use crate::spec::labels;

/// What the client wants to be connected with.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// A new process in this container.
    Exec(&'a str),
    /// The first process of this container.
    Attach(&'a str),
    /// Ports of the pod.
    PortForward,
}

/// Connects the client with what it asks for.
pub async fn answer<B>(kubelet: &Kubelet, pod: &Pod, target: Target<'_>, mut request: Request<B>) -> Response<Body> {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let url = match prepare(kubelet, pod, target, &query).await {
        Ok(url) => url,
        Err((status, words)) => return plain(status, words),
    };
    match connect(&url, &request).await {
        Ok(mut answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let (client, runtime) = (hyper::upgrade::on(&mut request), hyper::upgrade::on(&mut answer));
            tokio::spawn(async move {
                let (client, runtime) = match tokio::try_join!(client, runtime) {
                    Ok(both) => both,
                    Err(error) => return tracing::debug!(%error, "a stream was not connected"),
                };
                // An error is the end of one side: the other learns of it by the end of its connection.
                let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(runtime)).await;
            });
            answer.map(|_| BodyExt::boxed(Empty::new()))
        }
        // The runtime refuses: its own words say why.
        Ok(answer) => {
            let (status, body) = (answer.status(), answer.into_body().collect().await);
            plain(status, body.map(http_body_util::Collected::to_bytes).unwrap_or_default())
        }
        Err(words) => plain(StatusCode::BAD_GATEWAY, format!("the runtime's streaming server at {url}: {words}\n")),
    }
}

type Refusal = (StatusCode, String);

/// Has the runtime prepare the stream, and returns the URL to connect to.
async fn prepare(kubelet: &Kubelet, pod: &Pod, target: Target<'_>, query: &Query) -> Result<Uri, Refusal> {
    let failed = |words: String| (StatusCode::INTERNAL_SERVER_ERROR, words);
    let url = match target {
        Target::Exec(container) => {
            let (container_id, streams) = (running(kubelet, pod, container).await?, Streams::of(query)?);
            let Streams { stdin, stdout, stderr, tty } = streams;
            let cmd = query.all("command").map(str::to_owned).collect();
            kubelet.cri.exec(ExecRequest { container_id, cmd, tty, stdin, stdout, stderr }).await
        }
        Target::Attach(container) => {
            let (container_id, streams) = (running(kubelet, pod, container).await?, Streams::of(query)?);
            let Streams { stdin, stdout, .. } = streams;
            // A process that runs has a terminal or has none, whatever the client has: one who wants a stream that there is not is refused.
            let (stderr, tty) = (query.first("error") == Some("1"), has_terminal(pod, container));
            let stderr = stderr && !(tty && streams.tty);
            kubelet.cri.attach(AttachRequest { container_id, stdin, tty, stdout, stderr }).await
        }
        Target::PortForward => {
            let pod_sandbox_id = sandbox(kubelet, pod).await?;
            let port = query.all("port").flat_map(|ports| ports.split(',')).map(str::parse).collect::<Result<_, _>>();
            let port = port.map_err(|error| (StatusCode::BAD_REQUEST, format!("port: {error}\n")))?;
            kubelet.cri.port_forward(PortForwardRequest { pod_sandbox_id, port }).await
        }
    };
    let url = url.map_err(|error| failed(format!("{error}\n")))?;
    url.parse().map_err(|error| failed(format!("the runtime's URL {url:?}: {error}\n")))
}

struct Streams {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl Streams {
    fn of(query: &Query) -> Result<Self, Refusal> {
        let flag = |key: &str| query.first(key) == Some("1");
        let tty = flag("tty");
        // A terminal has one output.
        let streams = Self { stdin: flag("input"), stdout: flag("output"), stderr: flag("error") && !tty, tty };
        if streams.stdin || streams.stdout || streams.stderr {
            return Ok(streams);
        }
        Err((StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr\n".to_owned()))
    }
}

/// Whether a container's process runs in a terminal.
fn has_terminal(pod: &Pod, container: &str) -> bool {
    let ephemeral = || pod::ephemeral_containers(pod).iter().find(|ephemeral| ephemeral.name == container)?.tty;
    pod::container(pod, container).map_or_else(ephemeral, |container| container.tty).unwrap_or(false)
}

fn of_pod(pod: &Pod) -> HashMap<String, String> {
    HashMap::from([(labels::POD_UID.to_owned(), pod::uid(pod).to_owned())])
}

async fn running(kubelet: &Kubelet, pod: &Pod, container: &str) -> Result<String, Refusal> {
    let mut selector = of_pod(pod);
    selector.insert(labels::CONTAINER_NAME.to_owned(), container.to_owned());
    let state = Some(ContainerStateValue { state: ContainerState::ContainerRunning.into() });
    let filter = ContainerFilter { state, label_selector: selector, ..ContainerFilter::default() };
    let found = kubelet.cri.list_containers(Some(filter)).await;
    let found = found.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")))?;
    let newest = found.into_iter().max_by_key(|container| container.created_at);
    let absent = || (StatusCode::INTERNAL_SERVER_ERROR, format!("container not found ({container:?})\n"));
    newest.map(|container| container.id).ok_or_else(absent)
}

async fn sandbox(kubelet: &Kubelet, pod: &Pod) -> Result<String, Refusal> {
    let state = Some(PodSandboxStateValue { state: PodSandboxState::SandboxReady.into() });
    let filter = PodSandboxFilter { state, label_selector: of_pod(pod), ..PodSandboxFilter::default() };
    let found = kubelet.cri.list_pod_sandboxes(Some(filter)).await;
    let found = found.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")))?;
    let newest = found.into_iter().max_by_key(|sandbox| sandbox.created_at);
    let absent = || (StatusCode::NOT_FOUND, format!("pod {} is not running\n", pod::display(pod)));
    newest.map(|sandbox| sandbox.id).ok_or_else(absent)
}

/// Passes the request on, all its headers with it.
async fn connect<B>(url: &Uri, request: &Request<B>) -> Result<Response<Incoming>, String> {
    let (Some("http"), Some(authority)) = (url.scheme_str(), url.authority()) else {
        return Err("only plain HTTP on the node's own address is spoken to".to_owned());
    };
    let stream = TcpStream::connect(authority.as_str()).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection.with_upgrades());
    let path = url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut passed = Request::new(Empty::<Bytes>::new());
    *passed.method_mut() = request.method().clone();
    *passed.uri_mut() = path.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    *passed.headers_mut() = request.headers().clone();
    passed.headers_mut().remove(header::AUTHORIZATION);
    passed.headers_mut().remove(header::CONTENT_LENGTH);
    let host = HeaderValue::from_str(authority.as_str()).map_err(|error| error.to_string())?;
    passed.headers_mut().insert(header::HOST, host);
    sender.send_request(passed).await.map_err(|error| error.to_string())
}
