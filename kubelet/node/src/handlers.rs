//! The ways to ask a container something: an HTTP request, a TCP connection, a command. Probes and lifecycle hooks share them.
//! Connections start in the network namespace of the kubelet, which is the node's.

mod tls;

use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use crate::kubelet::Kubelet;

/// What came of asking: success, or failure with the words for an event.
pub type Outcome = Result<(), String>;

/// The number of a port given by number or by the name of one of the container's ports.
pub fn port(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_ref() == Some(name))
            .map(|port| port.container_port)
            .or_else(|| name.parse().ok()),
    };
    number.and_then(|number| u16::try_from(number).ok()).filter(|&port| port > 0).ok_or_else(|| match port {
        IntOrString::Int(number) => format!("invalid port number: {number}"),
        IntOrString::String(name) => format!("couldn't find port: {name}"),
    })
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    TcpStream::connect(&address).await.map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            std::io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
            _ => error.to_string(),
        };
        format!("dial tcp {address}: connect: {why}")
    })
}

/// Connects and hangs up.
pub async fn tcp_socket(container: &Container, action: &TCPSocketAction, pod_ip: &str, limit: Duration) -> Outcome {
    let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
    let port = port(container, &action.port)?;
    match tokio::time::timeout(limit, connect(host, port)).await {
        Ok(result) => result.map(drop),
        Err(_) => Err(format!("dial tcp {host}:{port}: i/o timeout")),
    }
}

/// Asks by GET; an answer from 200 to 399 is a success.
pub async fn http_get(
    container: &Container,
    action: &HTTPGetAction,
    pod_ip: &str,
    limit: Duration,
    agent: &str,
) -> Outcome {
    let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
    let port = port(container, &action.port)?;
    let path = action.path.as_deref().unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let https = action.scheme.as_deref() == Some("HTTPS");
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let url = format!("{}://{authority}{path}", if https { "https" } else { "http" });
    let ask = async {
        let stream = connect(host, port).await?;
        let mut request = hyper::Request::get(&path).header("Accept", "*/*").header("Connection", "close");
        let own = action.http_headers.iter().flatten();
        let named =
            |name: &str| action.http_headers.iter().flatten().any(|header| header.name.eq_ignore_ascii_case(name));
        if !named("Host") {
            request = request.header("Host", &authority);
        }
        if !named("User-Agent") {
            request = request.header("User-Agent", agent);
        }
        for header in own {
            request = request.header(&header.name, &header.value);
        }
        let request = request.body(Empty::<bytes::Bytes>::new()).map_err(|error| error.to_string())?;
        if https { send(tls::connect(stream, host).await?, request).await } else { send(stream, request).await }
    };
    match tokio::time::timeout(limit, ask).await {
        Ok(Ok(status)) if (200..400).contains(&status) => Ok(()),
        Ok(Ok(status)) => Err(format!("HTTP probe failed with statuscode: {status}")),
        Ok(Err(error)) => Err(format!("Get {url:?}: {error}")),
        Err(_) => {
            Err(format!("Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"))
        }
    }
}

async fn send<S>(stream: S, request: hyper::Request<Empty<bytes::Bytes>>) -> Result<u16, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let result = sender.send_request(request).await.map_err(|error| error.to_string());
    let status = match result {
        Ok(mut response) => {
            // A polite end: take a little of the body, so that the server is not cut off while it writes.
            let _ = response.body_mut().frame().await;
            Ok(response.status().as_u16())
        }
        Err(error) => Err(error),
    };
    connection.abort();
    status
}

/// Runs a command in the container; exit code 0 is a success, and its output is the words otherwise.
pub async fn exec(kubelet: &Kubelet, container_id: &str, action: &ExecAction, limit: Duration) -> Outcome {
    let command = action.command.clone().unwrap_or_default();
    let (cri, id, words) = (kubelet.cri.clone(), container_id.to_owned(), command.clone());
    let run = kubelet.whole(async move { cri.exec_sync(&id, words, limit).await });
    // The runtime kills the command at the limit; wait a little longer for it to say so.
    match tokio::time::timeout(limit + Duration::from_secs(1), run).await {
        Ok(Ok(reply)) if reply.exit_code == 0 => Ok(()),
        Ok(Ok(reply)) => {
            let output = [reply.stdout, reply.stderr].concat();
            let output = String::from_utf8_lossy(&output[..output.len().min(10 * 1024)]).into_owned();
            Err(if output.is_empty() { format!("command {command:?} exited with {}", reply.exit_code) } else { output })
        }
        Ok(Err(error)) if error.is_timeout() => Err(timed_out(&command, limit)),
        Ok(Err(error)) => Err(error.message),
        Err(_) => Err(timed_out(&command, limit)),
    }
}

fn timed_out(command: &[String], limit: Duration) -> String {
    format!("command timed out: {:?} timed out after {}s", command.join(" "), limit.as_secs())
}
