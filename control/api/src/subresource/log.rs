//! `pods/log`: the kubelet's answer, streamed through.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use serde_json::Value;

use super::upstream::{Upstream, names};
use crate::object::meta;
use crate::rest::Call;
use crate::status::Status;
use crate::wire::{self, Body};

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
    let kubelet = Upstream::kubelet(call, node)?;
    let path = format!("/containerLogs/{}/{}/{container}?{}", call.namespace(), meta(&pod, "name"), options(call));
    let unreachable = |why: &dyn std::fmt::Display| Status::internal(format!("Get \"{}\": {why}", kubelet.url(&path)));
    let request = Request::get(&path).body(Full::new(Bytes::new())).map_err(|e| unreachable(&e))?;
    let mut response = kubelet.send(request, call.closing.clone()).await.map_err(|e| unreachable(&e))?;
    if !response.status().is_success() {
        return Err(refused(response).await);
    }
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// The kubelet's refusal, in its own words.
pub(super) async fn refused(response: Response<Body>) -> Status {
    let code = response.status().as_u16();
    let text = wire::read(response.into_body()).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    match code {
        400 => Status::bad_request(text),
        404 => Status::no_such_path(),
        code => Status::internal(format!("the kubelet answered {code}: {text}")),
    }
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
pub(super) fn container(call: &Call, pod: &Value) -> Result<String, Status> {
    let spec = &pod["spec"];
    let (main, init) = (names(&spec["containers"]), names(&spec["initContainers"]));
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
        wanted if main.iter().chain(&init).chain(&names(&spec["ephemeralContainers"])).any(|c| c == wanted) => {
            Ok(wanted.to_owned())
        }
        wanted => Err(Status::bad_request(format!("container {wanted} is not valid for pod {name}"))),
    }
}
