//! Commands in containers, and connections to pods, through the kubelet's API as a WebSocket client sees it.

use rustls_pki_types::ServerName;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::cluster::*;

type Stream = TlsStream<TcpStream>;

async fn connect(cluster: &Cluster) -> Stream {
    let config = client_tls(&cluster.pki, "api", &["system:masters"]);
    let stream = TcpStream::connect("127.0.0.1:10250").await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(config).connect(name, stream).await.unwrap()
}

/// Asks for a WebSocket and returns the head of the answer, up to the empty line.
async fn upgrade(stream: &mut Stream, path: &str, protocol: &str) -> String {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: node1:10250\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// One message from the server: its channel and what it carries. `None` at the end.
async fn message(stream: &mut Stream) -> Option<(u8, Vec<u8>)> {
    let opcode = stream.read_u8().await.ok()? & 0x0f;
    let length = match stream.read_u8().await.ok()? {
        126 => usize::from(stream.read_u16().await.ok()?),
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.ok()?;
    let (channel, bytes) = payload.split_first()?;
    (opcode != 8).then(|| (*channel, bytes.to_vec()))
}

/// Sends one message; a client masks what it sends, here with zeros.
async fn send(stream: &mut Stream, channel: u8, bytes: &[u8]) {
    let length = u8::try_from(bytes.len() + 1).unwrap();
    assert!(length < 126);
    let frame = [&[0x82, 0x80 | length, 0, 0, 0, 0, channel], bytes].concat();
    stream.write_all(&frame).await.unwrap();
}

#[test]
fn a_command_runs_in_a_container_and_its_output_and_exit_code_come_back() {
    with_cluster(async |cluster| {
        cluster.create("shell", json!({ "containers": [guest(&["wait"])] })).await;
        cluster.ready("shell").await;
        let run = async |words: &[&str]| {
            let command: String = words.iter().map(|word| format!("&command={}", word.replace(' ', "%20"))).collect();
            let mut stream = connect(&cluster).await;
            let path = format!("/exec/default/shell/c?output=1&error=1{command}");
            let head = upgrade(&mut stream, &path, "v4.channel.k8s.io").await;
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            let (mut output, mut status) = (Vec::new(), Vec::new());
            while let Some((channel, bytes)) = message(&mut stream).await {
                match channel {
                    1 => output.extend(bytes),
                    3 => status.extend(bytes),
                    _ => {}
                }
            }
            let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
            (String::from_utf8(output).unwrap(), status)
        };
        let (output, status) = run(&["/guest", "echo", "hello  there"]).await;
        assert_eq!((output.as_str(), &status["status"]), ("hello  there\n", &json!("Success")));
        let (_, status) = run(&["/guest", "exit", "3"]).await;
        assert_eq!(status["details"]["causes"][0], json!({ "reason": "ExitCode", "message": "3" }));

        let api = Some(("api", &["system:masters"][..]));
        let (status, words) = cluster.ask_kubelet(api, "/exec/default/shell/c?command=x").await;
        assert_eq!((status, words.trim()), (400, "you must specify at least 1 of stdin, stdout, stderr"));
        assert_eq!(cluster.ask_kubelet(api, "/exec/default/shell/other?output=1&command=x").await.0, 500);
        assert_eq!(cluster.ask_kubelet(None, "/exec/default/shell/c?output=1&command=x").await.0, 401);
    });
}

#[test]
fn a_port_of_a_pod_is_reached_through_the_kubelet() {
    with_cluster(async |cluster| {
        cluster.create("web", json!({ "containers": [guest(&["serve", "80"])] })).await;
        cluster.ready("web").await;
        let mut stream = connect(&cluster).await;
        let head = upgrade(&mut stream, "/portForward/default/web?port=80", "v4.channel.k8s.io").await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        send(&mut stream, 0, b"GET / HTTP/1.0\r\n\r\n").await;
        let mut answer = Vec::new();
        while !answer.ends_with(b"hi\n") {
            let (channel, bytes) = message(&mut stream).await.expect("the pod answers before the stream ends");
            // The first message of each channel is the port's number.
            if channel == 0 && bytes != 80_u16.to_le_bytes() {
                answer.extend(bytes);
            }
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&answer));
    });
}

#[test]
fn kubectl_runs_commands_and_forwards_ports_through_the_api_server() {
    with_cluster(async |cluster| {
        cluster.create("web", json!({ "containers": [guest(&["serve", "80"])] })).await;
        cluster.ready("web").await;
        let kubectl = cluster.kubectl();
        let run = async |arguments: &[&str]| {
            let output = kubectl().args(arguments).output().await.unwrap();
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            (output.status.code(), text(output.stdout), text(output.stderr))
        };
        let (code, stdout, stderr) = run(&["exec", "web", "--", "/guest", "echo", "hello  there"]).await;
        assert_eq!((code, stdout.as_str()), (Some(0), "hello  there\n"), "{stderr}");
        let (code, _, stderr) = run(&["exec", "web", "-c", "c", "--", "/guest", "exit", "3"]).await;
        assert_eq!(code, Some(3), "{stderr}");
        let (code, stdout, stderr) = run(&["logs", "web"]).await;
        assert_eq!((code, stdout.as_str()), (Some(0), "serving\n"), "{stderr}");

        let mut forward = kubectl().args(["port-forward", "pod/web", "8080:80"]).spawn().unwrap();
        let mut lines = BufReader::new(forward.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap();
        assert!(line.starts_with("Forwarding from 127.0.0.1:8080"), "{line}");
        let mut stream = TcpStream::connect("127.0.0.1:8080").await.unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hi\n"), "{answer}");
        forward.kill().await.unwrap();
    });
}
