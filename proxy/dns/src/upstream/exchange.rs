//! One question to one name server: UDP from a fresh port each time, TCP where the answer was cut.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Query};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::cache::Key;
use crate::message::PAYLOAD;

/// How long one name server may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks. The answer is one to this very question, from this very server.
pub(super) async fn ask(server: SocketAddr, key: &Key) -> io::Result<Message> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = key.checking_disabled;
    message.add_query(Query::query(key.name.clone(), key.kind));
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    edns.flags_mut().dnssec_ok = key.dnssec_ok;
    message.set_edns(edns);
    let answer = timeout(PATIENCE, over_udp(server, &message)).await??;
    if !answer.metadata.truncation {
        return Ok(answer);
    }
    timeout(PATIENCE, over_tcp(server, &message)).await?
}

async fn over_udp(server: SocketAddr, question: &Message) -> io::Result<Message> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    // The kernel drops what comes from elsewhere, and tells of an unreachable server at once.
    socket.connect(server).await?;
    socket.send(&question.to_vec().map_err(io::Error::other)?).await?;
    let mut buffer = [0; PAYLOAD as usize];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Somebody who guesses ports gets no second chance to end the wait.
        if let Some(answer) = Message::from_vec(&buffer[..length]).ok().filter(|answer| is_answer(answer, question)) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &Message) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let bytes = question.to_vec().map_err(io::Error::other)?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; length.into()];
    stream.read_exact(&mut buffer).await?;
    let answer = Message::from_vec(&buffer).map_err(io::Error::other)?;
    if is_answer(&answer, question) { Ok(answer) } else { Err(io::Error::other("an answer to another question")) }
}

fn is_answer(answer: &Message, question: &Message) -> bool {
    answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.queries == question.queries
}
