//! The server's side of WebSocket (RFC 6455): the handshake's answer and binary messages. No extensions. Nothing here knows what
//! the messages mean.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use ring::digest;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::wire::{self, Body};

/// What the standard has servers append to the client's key.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// As in Kubernetes, where a message of more than this ends the connection.
const LONGEST: usize = 32 << 20;

/// The protocols that a WebSocket client offers; none if the request is for something else.
pub fn offered(headers: &HeaderMap) -> Vec<&str> {
    let is = |name: header::HeaderName, word: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(word))
    };
    if !is(header::UPGRADE, "websocket") || !is(header::CONNECTION, "upgrade") {
        return Vec::new();
    }
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).collect()
}

/// Agrees to speak `protocol`; nothing when the client's handshake is broken.
pub fn accept(headers: &HeaderMap, protocol: &str) -> Option<Response<Body>> {
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?.to_str().ok()?;
    let version = headers.get(header::SEC_WEBSOCKET_VERSION)?;
    if version != "13" || STANDARD.decode(key).ok()?.len() != 16 {
        return None;
    }
    let mut response = Response::new(wire::full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&answer(key)).ok()?);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(protocol).ok()?);
    Some(response)
}

fn answer(key: &str) -> String {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{MAGIC}").as_bytes());
    STANDARD.encode(hash)
}

/// What comes from the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// Bytes, or text.
    Data(Vec<u8>),
    /// To be answered with a pong of the same bytes.
    Ping(Vec<u8>),
    /// Nothing comes any more.
    Close,
}

/// Reads messages, whole ones. Not to be dropped in the middle of a call.
pub struct Reader<R> {
    io: R,
    /// The beginning of a message that is in several frames.
    begun: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads from behind the handshake.
    pub fn new(io: R) -> Self {
        Self { io, begun: Vec::new() }
    }

    /// The next message. The end of the connection is [`Message::Close`], too.
    pub async fn next(&mut self) -> io::Result<Message> {
        loop {
            let mut head = [0; 2];
            match self.io.read_exact(&mut head).await {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Message::Close),
                Err(error) => return Err(error),
            }
            let (last, opcode) = (head[0] & 0x80 != 0, head[0] & 0x0f);
            if head[0] & 0x70 != 0 || head[1] & 0x80 == 0 {
                return Err(broken("a frame with extensions or without a mask"));
            }
            let length = match head[1] & 0x7f {
                126 => usize::from(self.io.read_u16().await?),
                127 => usize::try_from(self.io.read_u64().await?).unwrap_or(usize::MAX),
                short => usize::from(short),
            };
            if length > LONGEST.saturating_sub(self.begun.len()) || (opcode >= 8 && (length > 125 || !last)) {
                return Err(broken("a message that is too long"));
            }
            let mut mask = [0; 4];
            self.io.read_exact(&mut mask).await?;
            // Grows with what really comes.
            let mut payload = Vec::new();
            (&mut self.io).take(u64::try_from(length).unwrap_or(0)).read_to_end(&mut payload).await?;
            if payload.len() < length {
                return Ok(Message::Close);
            }
            payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
            match opcode {
                0..=2 => {
                    self.begun.append(&mut payload);
                    if last {
                        return Ok(Message::Data(std::mem::take(&mut self.begun)));
                    }
                }
                8 => return Ok(Message::Close),
                9 => return Ok(Message::Ping(payload)),
                10 => {}
                _ => return Err(broken("a frame of an unknown kind")),
            }
        }
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Writes messages.
pub struct Writer<W>(W);

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// Writes behind the handshake.
    pub fn new(io: W) -> Self {
        Self(io)
    }

    /// A binary message of these parts.
    pub async fn send(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        self.frame(2, parts).await
    }

    /// The answer to a ping.
    pub async fn pong(&mut self, payload: &[u8]) -> io::Result<()> {
        self.frame(10, &[payload]).await
    }

    /// The end, a good one (1000).
    pub async fn close(&mut self) -> io::Result<()> {
        self.frame(8, &[&1000_u16.to_be_bytes()]).await?;
        self.0.shutdown().await
    }

    async fn frame(&mut self, opcode: u8, parts: &[&[u8]]) -> io::Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut frame = Vec::with_capacity(length + 10);
        frame.push(0x80 | opcode);
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ 0..=125), _) => frame.push(short),
            (_, Ok(medium)) => {
                frame.push(126);
                frame.extend(medium.to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend(u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
            }
        }
        parts.iter().for_each(|part| frame.extend_from_slice(part));
        self.0.write_all(&frame).await?;
        self.0.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_key_is_the_one_of_the_standard() {
        assert_eq!(answer("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[tokio::test]
    async fn a_message_in_several_frames_is_put_together_around_a_ping() {
        // "Hel" masked, a ping "p", "lo" masked with zeros, and the end.
        let bytes = [
            &[0x02, 0x83, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d][..],
            &[0x89, 0x81, 0, 0, 0, 0, b'p'],
            &[0x80, 0x82, 0, 0, 0, 0, b'l', b'o'],
        ]
        .concat();
        let mut reader = Reader::new(bytes.as_slice());
        assert_eq!(reader.next().await.unwrap(), Message::Ping(b"p".to_vec()));
        assert_eq!(reader.next().await.unwrap(), Message::Data(b"Hello".to_vec()));
        assert_eq!(reader.next().await.unwrap(), Message::Close);
    }

    #[tokio::test]
    async fn what_no_client_may_send_ends_the_connection() {
        for bytes in [
            &[0x82, 0x01, 0][..],
            &[0xc2, 0x80, 0, 0, 0, 0],
            &[0x83, 0x80, 0, 0, 0, 0],
            &[0x82, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert!(Reader::new(bytes).next().await.is_err(), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn lengths_are_written_in_the_shortest_form() {
        for (length, head) in [(125, &[0x82, 125][..]), (126, &[0x82, 126, 0, 126]), (65536, &[0x82, 127, 0, 0])] {
            let mut written = Vec::new();
            Writer::new(&mut written).send(&[&vec![0; length]]).await.unwrap();
            assert!(written.starts_with(head), "{length}");
        }
    }
}
