//! HTTP/2 as frames (RFC 9113), for what is timed to the microsecond: requests that go out in one write, and answers whose frames are
//! looked at where they were decrypted. A whole client costs as much for each event as the server that it shares the processors with.

use anyhow::{Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What the server may send before it must wait for us: as much as there is.
const WINDOW: u32 = (1 << 31) - 1;
const FIRST_WINDOW: u32 = 65_535;
const HEADER: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

/// Of DATA and HEADERS; of SETTINGS and PING it says that they are an answer.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A connection.
pub struct Frames {
    stream: TlsStream<TcpStream>,
    authority: String,
    next: u32,
    input: Vec<u8>,
    read: usize,
}

/// Something of an answer.
pub struct Part<'a> {
    /// Of which request.
    pub stream: u32,
    /// A piece of its body; empty where its headers came.
    pub data: &'a [u8],
    /// Whether it is whole.
    pub ended: bool,
}

impl Frames {
    /// Greets a server that speaks HTTP/2.
    pub async fn new(stream: TlsStream<TcpStream>, authority: String) -> Result<Self> {
        let mut this = Self { stream, authority, next: 1, input: Vec::with_capacity(1 << 17), read: 0 };
        let mut greeting = PREFACE.to_vec();
        // SETTINGS_ENABLE_PUSH and SETTINGS_INITIAL_WINDOW_SIZE.
        let mut settings = vec![0, 2, 0, 0, 0, 0, 0, 4];
        settings.extend(WINDOW.to_be_bytes());
        frame(&mut greeting, SETTINGS, 0, 0, &settings)?;
        frame(&mut greeting, WINDOW_UPDATE, 0, 0, &(WINDOW - FIRST_WINDOW).to_be_bytes())?;
        this.stream.write_all(&greeting).await?;
        Ok(this)
    }

    /// Asks: a POST where there is a body, otherwise a GET. Its answer's parts bear the number that is returned.
    pub async fn ask(&mut self, path: &str, body: &[u8]) -> Result<u32> {
        let stream = self.next;
        self.next += 2;
        // Header fields of the static table (RFC 7541, appendix A): `:method` is 2 or 3, `:scheme: https` 7, `:path` 4, `:authority` 1,
        // `content-type` 31.
        let mut fields = vec![if body.is_empty() { 0x82 } else { 0x83 }, 0x87];
        literal(&mut fields, &[0x04], path)?;
        literal(&mut fields, &[0x01], &self.authority)?;
        let mut request = Vec::new();
        if body.is_empty() {
            frame(&mut request, HEADERS, END_HEADERS | END_STREAM, stream, &fields)?;
        } else {
            literal(&mut fields, &[0x0f, 31 - 0x0f], "application/json")?;
            frame(&mut request, HEADERS, END_HEADERS, stream, &fields)?;
            frame(&mut request, DATA, END_STREAM, stream, body)?;
        }
        self.stream.write_all(&request).await?;
        Ok(stream)
    }

    /// The next part of any answer; an answer that is no success, or a stream or connection that the server ends, is an error.
    pub async fn next(&mut self) -> Result<Part<'_>> {
        loop {
            let Some((kind, flags, stream, length)) = self.whole() else {
                self.input.drain(..std::mem::take(&mut self.read));
                ensure!(self.stream.read_buf(&mut self.input).await? > 0, "the connection ended");
                continue;
            };
            let payload = self.read + HEADER..self.read + HEADER + length;
            self.read = payload.end;
            let ended = flags & END_STREAM != 0;
            match kind {
                DATA => return Ok(Part { stream, data: &self.input[payload], ended }),
                HEADERS => {
                    // `:status: 200` is 8 of the static table; 201 is not there, and is spelled out after the name.
                    let fields = &self.input[payload];
                    let updates = fields.iter().take_while(|byte| **byte & 0xe0 == 0x20).count();
                    let good = match &fields[updates..] {
                        [0x88, ..] => true,
                        // The name is any of the table's; indexed or not, Huffman coded ("201" is two bytes) or not.
                        [0x08..=0x0e | 0x48..=0x4e, 0x82, 0x10, 0x03, ..] => true,
                        [0x08..=0x0e | 0x48..=0x4e, 0x03, b'2', b'0', b'1', ..] => true,
                        // One that was indexed before: the newest of the dynamic table or older, which only good ones are here.
                        [field, ..] => field & 0x80 != 0 && field & 0x7f >= 62,
                        [] => false,
                    };
                    ensure!(good, "an answer that begins with {:02x?}", &fields[..fields.len().min(8)]);
                    return Ok(Part { stream, data: &[], ended });
                }
                SETTINGS | PING if !ended => {
                    let echo = if kind == PING { self.input[payload].to_vec() } else { Vec::new() };
                    let mut answer = Vec::new();
                    frame(&mut answer, kind, END_STREAM, 0, &echo)?;
                    self.stream.write_all(&answer).await?;
                }
                RST_STREAM | GOAWAY => bail!("the server ended stream {stream}: {:02x?}", &self.input[payload]),
                _ => {}
            }
        }
    }

    /// Kind, flags, stream and length of the next frame, if all of it was read.
    fn whole(&self) -> Option<(u8, u8, u32, usize)> {
        let input = &self.input[self.read..];
        let &[high, middle, low, kind, flags, a, b, c, d] = input.get(..HEADER)? else { return None };
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let stream = u32::from_be_bytes([a, b, c, d]) & WINDOW;
        (input.len() >= HEADER + length).then_some((kind, flags, stream, length))
    }
}

fn frame(output: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<()> {
    let length = u32::try_from(payload.len())?.to_be_bytes();
    ensure!(payload.len() <= 16_384, "a frame of {} bytes", payload.len());
    output.extend_from_slice(&length[1..]);
    output.extend_from_slice(&[kind, flags]);
    output.extend_from_slice(&stream.to_be_bytes());
    output.extend_from_slice(payload);
    Ok(())
}

/// A header field that no table remembers: its name by number, its value as it is.
fn literal(fields: &mut Vec<u8>, name: &[u8], value: &str) -> Result<()> {
    ensure!(value.len() < 127, "a header field of {} bytes", value.len());
    fields.extend_from_slice(name);
    fields.push(u8::try_from(value.len())?);
    fields.extend_from_slice(value.as_bytes());
    Ok(())
}
