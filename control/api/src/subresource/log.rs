//! `pods/log`: the kubelet's answer, streamed through.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, BodyStream, Empty, StreamBody};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::object::meta;
use crate::rest::Call;
use crate::status::Status;
use crate::wire::{Body, BoxError};

const KUBELET_PORT: u16 = 10250;
const PATIENCE: Duration = Duration::from_secs(10);
/// Options that the kubelet understands.
const OPTIONS: &[&str] =
    &["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream"];

pub(super) async fn answer(call: &Arc<Call>) -> Result<Response<Body>, Status> {
    let pod = call.find().await?.value();
    let container = container(call, &pod)?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", meta(&pod, "name"))));
    }
    let (address, port) = kubelet_of(call, node)?;
    let path = format!("/containerLogs/{}/{}/{container}?{}", call.namespace(), meta(&pod, "name"), options(call));
    let mut response = get(call, &address, port, &path)
        .await
        .map_err(|error| Status::internal(format!("Get \"https://{address}:{port}{path}\": {error}")))?;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    // A log that is followed ends with the listener.
    let closing = call.closing.clone().cancelled_owned();
    Ok(response.map(|body| StreamBody::new(BodyStream::new(body).take_until(Box::pin(closing))).boxed_unsync()))
}

/// What the kubelet is asked, as a query string.
fn options(call: &Call) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for option in OPTIONS {
        if let Some(value) = call.query.get(option) {
            query.append_pair(option, value);
        }
    }
    query.finish()
}

/// The container asked for, or the only one.
fn container(call: &Call, pod: &Value) -> Result<String, Status> {
    let names = |list: &str| -> Vec<String> {
        pod["spec"][list].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str().map(Into::into)).collect()
    };
    let (main, init) = (names("containers"), names("initContainers"));
    let name = meta(pod, "name");
    match call.query.text("container") {
        "" => match main.as_slice() {
            [one] => Ok(one.clone()),
            many => match pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str() {
                Some(default) if many.iter().any(|c| c == default) => Ok(default.to_owned()),
                _ => {
                    let mut text = format!(
                        "a container name must be specified for pod {name}, choose one of: [{}]",
                        main.join(" ")
                    );
                    if !init.is_empty() {
                        text = format!("{text} or one of the init containers: [{}]", init.join(" "));
                    }
                    Err(Status::bad_request(text))
                }
            },
        },
        wanted if main.iter().chain(&init).chain(&names("ephemeralContainers")).any(|c| c == wanted) => {
            Ok(wanted.to_owned())
        }
        wanted => Err(Status::bad_request(format!("container {wanted} is not valid for pod {name}"))),
    }
}

/// Where a node's kubelet listens.
fn kubelet_of(call: &Call, node: &str) -> Result<(String, u16), Status> {
    let cache = call.server.registry().hub().cache_at("minions");
    let node_object = cache.and_then(|c| c.get(node)).ok_or_else(|| Status::not_found_as("", "nodes", node))?.value();
    let status = &node_object["status"];
    let addresses = status["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |kind: &str| addresses.iter().find(|a| a["type"] == kind).and_then(|a| a["address"].as_str());
    let address = of("InternalIP").or(of("Hostname")).or(of("ExternalIP"));
    let address = address
        .ok_or_else(|| Status::internal(format!("no preferred addresses found; known addresses: [] of node {node}")))?;
    let port = status["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64().and_then(|p| u16::try_from(p).ok());
    Ok((address.to_owned(), port.filter(|p| *p != 0).unwrap_or(KUBELET_PORT)))
}

async fn get(call: &Call, address: &str, port: u16, path: &str) -> Result<Response<Body>, BoxError> {
    let tls =
        call.server.config().kubelet_client.clone().ok_or("this server has no client certificate for kubelets")?;
    let stream = tokio::time::timeout(PATIENCE, TcpStream::connect((address, port))).await??;
    let name = ServerName::try_from(address.to_owned())?;
    let stream = tokio::time::timeout(PATIENCE, TlsConnector::from(tls).connect(name, stream)).await??;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends when the answer's body is dropped or read to its end.
    tokio::spawn(connection);
    let host = if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
    let request = Request::get(path).header(header::HOST, host).body(Empty::<bytes::Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let (parts, body) = response.into_parts();
    let mut answer = Response::new(body.map_err(BoxError::from).boxed_unsync());
    *answer.status_mut() = parts.status;
    Ok(answer)
}
