//! `v5.channel.k8s.io`: exec and attach over a WebSocket, whose clients can end standard input without ending the connection.
//! Container runtimes know that in SPDY only: the API server translates, as Kubernetes' does (KEP-4006).

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::websocket::{self, Message};
use super::{spdy, words};
use crate::status::Status;
use crate::subresource::upstream::Upstream;

/// The protocol that is spoken with the client.
pub const PROTOCOL: &str = "v5.channel.k8s.io";
/// The one that is spoken with the runtime.
const UPSTREAM: &str = "v4.channel.k8s.io";

/// The channel of a WebSocket's message is its first byte.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// What is taken of the runtime's word on how it ended.
const OUTCOME: usize = 64 << 10;
/// Pings of the runtime that wait for their answers; more get none.
const PINGS: usize = 8;

/// What the client wants to be connected with.
#[derive(Debug, Clone, Copy)]
pub struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

impl Streams {
    /// Channels and their names in SPDY. A terminal has one output.
    fn channels(self) -> impl Iterator<Item = (u8, &'static str)> {
        let all = [
            (ERROR, "error", true),
            (STDIN, "stdin", self.stdin),
            (STDOUT, "stdout", self.stdout),
            (STDERR, "stderr", self.stderr && !self.tty),
            (RESIZE, "resize", self.tty),
        ];
        all.into_iter().filter(|(.., wanted)| *wanted).map(|(channel, name, _)| (channel, name))
    }

    /// Where a client that waits for its connection hears first of it.
    fn first_output(self) -> u8 {
        match (self.stdout, self.stderr) {
            (true, _) => STDOUT,
            (_, true) => STDERR,
            _ => ERROR,
        }
    }
}

/// The stream of a channel.
fn stream_of(channel: u8) -> u32 {
    2 * u32::from(channel) + 1
}

/// The channel of a stream.
fn channel_of(stream: u32) -> Option<u8> {
    u8::try_from(stream / 2).ok().filter(|channel| matches!(*channel, STDOUT | STDERR | ERROR))
}

/// Serves one client to its end.
pub async fn run(
    client: OnUpgrade,
    kubelet: Upstream,
    path: String,
    streams: Streams,
    closing: CancellationToken,
) -> io::Result<()> {
    let client = client.await.map_err(io::Error::other)?;
    let (reader, writer) = tokio::io::split(TokioIo::new(client));
    let (mut reader, mut writer) = (websocket::Reader::new(reader), websocket::Writer::new(writer));
    writer.send(&[&[streams.first_output()]]).await?;
    let upstream = match connect(&kubelet, &path, closing.clone()).await {
        Ok(upstream) => upstream,
        Err(status) => {
            writer.send(&[&[ERROR], status.to_value().to_string().as_bytes()]).await?;
            return writer.close().await;
        }
    };
    let (mut from_runtime, to_runtime) = tokio::io::split(TokioIo::new(upstream));
    let mut to_runtime = spdy::Writer::new(to_runtime);
    // Ids must grow, and runtimes do not care for the order of streams.
    let mut channels: Vec<(u8, &str)> = streams.channels().collect();
    channels.sort_unstable();
    for (channel, name) in channels {
        to_runtime.open(stream_of(channel), "streamtype", name).await?;
    }
    let (writer, to_runtime) = (Arc::new(Mutex::new(writer)), Arc::new(Mutex::new(to_runtime)));
    let (pings, asked) = mpsc::channel(PINGS);
    tokio::select! {
        result = up(&mut reader, &writer, &to_runtime, streams) => result,
        result = down(&mut from_runtime, &writer, pings) => result,
        Err(error) = answer(asked, &to_runtime) => Err(error),
        () = closing.cancelled() => writer.lock().await.close().await,
    }
}

async fn connect(kubelet: &Upstream, path: &str, closing: CancellationToken) -> Result<Upgraded, Status> {
    let internal = |why: &dyn std::fmt::Display| Status::internal(why.to_string());
    let request = Request::post(path)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "SPDY/3.1")
        .header("x-stream-protocol-version", UPSTREAM)
        .body(Full::new(Bytes::new()))
        .map_err(|e| internal(&e))?;
    let sending = |e: &dyn std::fmt::Display| {
        Status::internal(format!("error sending request: Post \"{}\": {e}", kubelet.url(path)))
    };
    let mut response = kubelet.send(request, closing).await.map_err(|e| sending(&e))?;
    let upgrade = response.extensions_mut().remove::<OnUpgrade>();
    match upgrade.filter(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS) {
        Some(upgrade) => upgrade.await.map_err(|e| sending(&e)),
        None => Err(Status::internal(format!("unable to upgrade connection: {}", words(response).await))),
    }
}

/// From the client to the runtime.
async fn up<R, W, V>(
    reader: &mut websocket::Reader<R>,
    writer: &Mutex<websocket::Writer<W>>,
    to_runtime: &Mutex<spdy::Writer<V>>,
    streams: Streams,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    V: AsyncWrite + Unpin,
{
    let mut open = streams.stdin;
    loop {
        match reader.next().await? {
            Message::Close => return Ok(()),
            Message::Ping(payload) => writer.lock().await.pong(&payload).await?,
            Message::Data(message) => match message.split_first() {
                Some((&STDIN, bytes)) if open && !bytes.is_empty() => {
                    to_runtime.lock().await.data(stream_of(STDIN), bytes, false).await?;
                }
                Some((&RESIZE, bytes)) if streams.tty => {
                    to_runtime.lock().await.data(stream_of(RESIZE), bytes, false).await?;
                }
                Some((&CLOSE, &[STDIN])) if open => {
                    open = false;
                    to_runtime.lock().await.data(stream_of(STDIN), &[], true).await?;
                }
                _ => {}
            },
        }
    }
}

/// Answers the runtime's pings, by itself: reading from the runtime may not wait for what is written to it.
async fn answer<V>(mut pings: mpsc::Receiver<u32>, to_runtime: &Mutex<spdy::Writer<V>>) -> io::Result<()>
where
    V: AsyncWrite + Unpin,
{
    while let Some(id) = pings.recv().await {
        to_runtime.lock().await.ping(id).await?;
    }
    Ok(())
}

/// From the runtime to the client, until the runtime has said how it ended.
async fn down<R, W>(
    from_runtime: &mut R,
    writer: &Mutex<websocket::Writer<W>>,
    pings: mpsc::Sender<u32>,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut outcome = Vec::new();
    loop {
        match spdy::read(from_runtime).await {
            Ok(spdy::Frame::Data { stream, bytes, last }) => match channel_of(stream) {
                Some(ERROR) => {
                    outcome.extend(bytes.iter().take(OUTCOME - outcome.len()));
                    if last || outcome.len() == OUTCOME {
                        break;
                    }
                }
                Some(channel) if !bytes.is_empty() => writer.lock().await.send(&[&[channel], &bytes]).await?,
                _ => {}
            },
            Ok(spdy::Frame::Reset { stream }) if stream == stream_of(ERROR) => break,
            Ok(spdy::Frame::Ping(id)) => {
                // One that finds no place is not answered: a peer that asks so often hears of us anyway.
                let _ = pings.try_send(id);
            }
            Ok(spdy::Frame::GoAway) | Err(_) => break,
            Ok(_) => {}
        }
    }
    if outcome.is_empty() {
        let lost = Status::internal("the connection to the container was lost before its end was known");
        outcome = lost.to_value().to_string().into_bytes();
    }
    let mut writer = writer.lock().await;
    writer.send(&[&[ERROR], &outcome]).await?;
    writer.close().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's message, masked with zeros.
    fn message(bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).unwrap();
        [&[0x82, 0x80 | length, 0, 0, 0, 0], bytes].concat()
    }

    #[tokio::test]
    async fn the_end_of_standard_input_is_passed_on_and_nothing_after_it() {
        let sent = [message(b"\0in"), message(b"\xff\0"), message(b"\0late"), message(b"\x04{}")].concat();
        let streams = Streams { stdin: true, stdout: true, stderr: true, tty: false };
        let (mut client, mut runtime) = (Vec::new(), Vec::new());
        let writer = Mutex::new(websocket::Writer::new(&mut client));
        let to_runtime = Mutex::new(spdy::Writer::new(&mut runtime));
        up(&mut websocket::Reader::new(sent.as_slice()), &writer, &to_runtime, streams).await.unwrap();
        drop(to_runtime);
        let mut rest = runtime.as_slice();
        let data = |bytes: &[u8], last| spdy::Frame::Data { stream: 1, bytes: bytes.to_vec(), last };
        assert_eq!(spdy::read(&mut rest).await.unwrap(), data(b"in", false));
        assert_eq!(spdy::read(&mut rest).await.unwrap(), data(b"", true));
        assert!(rest.is_empty(), "{rest:?}");
    }

    #[tokio::test]
    async fn output_comes_before_the_outcome_and_a_lost_runtime_is_an_error() {
        let mut sent = Vec::new();
        let mut runtime = spdy::Writer::new(&mut sent);
        runtime.data(stream_of(STDOUT), b"out", false).await.unwrap();
        runtime.data(stream_of(ERROR), b"{\"status\":\"Success\"}", true).await.unwrap();
        let run = async |mut sent: &[u8]| {
            let mut client = Vec::new();
            let writer = Mutex::new(websocket::Writer::new(&mut client));
            down(&mut sent, &writer, mpsc::channel(1).0).await.unwrap();
            drop(writer);
            client
        };
        let expected = [&[0x82, 4, 1][..], b"out", &[0x82, 21, 3], b"{\"status\":\"Success\"}", &[0x88, 2, 3, 232]];
        assert_eq!(run(&sent).await, expected.concat());
        let lost = run(&sent[..11]).await;
        assert!(String::from_utf8_lossy(&lost).contains("\"reason\":\"InternalError\""), "{lost:?}");
    }

    #[tokio::test]
    async fn a_runtime_with_too_much_to_say_is_cut_short() {
        let mut sent = Vec::new();
        let mut runtime = spdy::Writer::new(&mut sent);
        runtime.data(stream_of(ERROR), &vec![b'e'; OUTCOME + 1], false).await.unwrap();
        runtime.data(stream_of(STDOUT), b"late", false).await.unwrap();
        let mut client = Vec::new();
        let writer = Mutex::new(websocket::Writer::new(&mut client));
        down(&mut sent.as_slice(), &writer, mpsc::channel(1).0).await.unwrap();
        drop(writer);
        let head = [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 1, ERROR];
        assert_eq!((&client[..11], client.len()), (&head[..], head.len() + OUTCOME + 4));
    }

    #[tokio::test]
    async fn output_is_read_while_nothing_can_be_written_to_the_runtime() {
        let mut sent = Vec::new();
        let mut runtime = spdy::Writer::new(&mut sent);
        for id in 0..20 {
            runtime.ping(id).await.unwrap();
        }
        runtime.data(stream_of(ERROR), b"{}", true).await.unwrap();
        let (blocked, _never_read) = tokio::io::duplex(1);
        let to_runtime = Mutex::new(spdy::Writer::new(blocked));
        let mut client = Vec::new();
        let writer = Mutex::new(websocket::Writer::new(&mut client));
        let (pings, asked) = mpsc::channel(PINGS);
        let mut sent = sent.as_slice();
        tokio::select! {
            result = down(&mut sent, &writer, pings) => result.unwrap(),
            Err(error) = answer(asked, &to_runtime) => panic!("{error}"),
            () = tokio::time::sleep(std::time::Duration::from_secs(5)) => panic!("reading waits for writing"),
        }
        drop(writer);
        assert_eq!(client[..5], [0x82, 3, ERROR, b'{', b'}']);
    }
}
