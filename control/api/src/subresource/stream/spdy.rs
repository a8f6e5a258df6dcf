//! As much of SPDY/3.1 as a client of container runtimes needs: it opens streams, writes to them and reads from them. Runtimes
//! speak it without windows (as the `spdystream` library does), and what they say in headers is nothing.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Control bit and version 3.
const CONTROL: u8 = 0x80;
const VERSION: u8 = 3;
const SYN_STREAM: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const FIN: u8 = 1;
/// Bytes in one frame that is sent.
const CHUNK: usize = 32 << 10;
/// Bytes in one frame that is read: runtimes write as much as one read gave them, 32 KiB.
const LONGEST: u32 = 1 << 20;

/// What comes from the runtime.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// Bytes of a stream.
    Data { stream: u32, bytes: Vec<u8>, last: bool },
    /// The end of a stream.
    Reset { stream: u32 },
    /// To be sent back.
    Ping(u32),
    /// The end of the connection.
    GoAway,
    /// What needs no answer.
    Other,
}

/// Reads the next frame. Not to be dropped in the middle of a call.
pub async fn read<R: AsyncRead + Unpin>(io: &mut R) -> io::Result<Frame> {
    let mut head = [0; 8];
    io.read_exact(&mut head).await?;
    let word = |bytes: &[u8]| bytes.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
    let length = word(&head[5..8]);
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    let mut payload = Vec::new();
    io.take(u64::from(length)).read_to_end(&mut payload).await?;
    if payload.len() < usize::try_from(length).unwrap_or(usize::MAX) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if head[0] & CONTROL == 0 {
        return Ok(Frame::Data { stream: word(&head[..4]), bytes: payload, last: head[4] & FIN != 0 });
    }
    let first = payload.get(..4).map(word);
    Ok(match (head[3], first) {
        (RST_STREAM, Some(stream)) => Frame::Reset { stream: stream & 0x7fff_ffff },
        (PING, Some(id)) => Frame::Ping(id),
        (GOAWAY, _) => Frame::GoAway,
        _ => Frame::Other,
    })
}

/// Writes frames.
pub struct Writer<W> {
    io: W,
    /// All header blocks of a connection are one zlib stream; its own header has been written.
    compressing: bool,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// Writes behind the upgrade.
    pub fn new(io: W) -> Self {
        Self { io, compressing: false }
    }

    /// Opens a stream with one header. Ids are odd and grow.
    pub async fn open(&mut self, stream: u32, name: &str, value: &str) -> io::Result<()> {
        let mut block = 1_u32.to_be_bytes().to_vec();
        for text in [name, value] {
            block.extend(u32::try_from(text.len()).unwrap_or(0).to_be_bytes());
            block.extend(text.as_bytes());
        }
        let mut payload = stream.to_be_bytes().to_vec();
        payload.extend([0; 6]);
        if !self.compressing {
            self.compressing = true;
            payload.extend([0x78, 0x01]);
        }
        // Stored as it is; the empty block behind it has the reader hand it out.
        for block in [block.as_slice(), &[]] {
            let length = u16::try_from(block.len()).map_err(|_| io::Error::other("a header that is too long"))?;
            payload.push(0);
            payload.extend(length.to_le_bytes());
            payload.extend((!length).to_le_bytes());
            payload.extend(block);
        }
        self.control(SYN_STREAM, &payload).await
    }

    /// Sends bytes on a stream; nothing may follow the last ones.
    pub async fn data(&mut self, stream: u32, bytes: &[u8], last: bool) -> io::Result<()> {
        let mut chunks: Vec<&[u8]> = bytes.chunks(CHUNK).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        let count = chunks.len();
        for (i, chunk) in chunks.into_iter().enumerate() {
            let mut frame = stream.to_be_bytes().to_vec();
            let flags = if last && i + 1 == count { FIN } else { 0 };
            frame.extend((u32::from(flags) << 24 | u32::try_from(chunk.len()).unwrap_or(0)).to_be_bytes());
            frame.extend(chunk);
            self.io.write_all(&frame).await?;
        }
        self.io.flush().await
    }

    /// Sends a ping back.
    pub async fn ping(&mut self, id: u32) -> io::Result<()> {
        self.control(PING, &id.to_be_bytes()).await
    }

    async fn control(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![CONTROL, VERSION, 0, kind];
        frame.extend(u32::try_from(payload.len()).unwrap_or(0).to_be_bytes());
        frame.extend(payload);
        self.io.write_all(&frame).await?;
        self.io.flush().await
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[tokio::test]
    async fn headers_of_all_streams_are_one_zlib_stream() {
        let mut written = Vec::new();
        let mut writer = Writer::new(&mut written);
        writer.open(1, "streamtype", "error").await.unwrap();
        writer.open(3, "streamtype", "stdin").await.unwrap();
        let mut compressed = Vec::new();
        let mut rest = written.as_slice();
        for stream in [1, 3] {
            assert_eq!(rest[..5], [0x80, 3, 0, 1, 0]);
            let length = usize::from(rest[7]);
            assert_eq!(rest[8..18], [0, 0, 0, stream, 0, 0, 0, 0, 0, 0]);
            compressed.extend(&rest[18..8 + length]);
            rest = &rest[8 + length..];
        }
        let mut blocks = vec![0; 2 * (4 + 4 + 10 + 4 + 5)];
        flate2::read::ZlibDecoder::new(compressed.as_slice()).read_exact(&mut blocks).unwrap();
        assert_eq!(blocks[..27], *b"\0\0\0\x01\0\0\0\x0astreamtype\0\0\0\x05error");
        assert_eq!(blocks[27..], *b"\0\0\0\x01\0\0\0\x0astreamtype\0\0\0\x05stdin");
    }

    #[tokio::test]
    async fn frames_are_read_as_they_were_written() {
        let mut written = Vec::new();
        let mut writer = Writer::new(&mut written);
        writer.data(5, b"abc", false).await.unwrap();
        writer.data(5, b"", true).await.unwrap();
        writer.ping(7).await.unwrap();
        let mut rest = written.as_slice();
        let data = |bytes: &[u8], last| Frame::Data { stream: 5, bytes: bytes.to_vec(), last };
        assert_eq!(read(&mut rest).await.unwrap(), data(b"abc", false));
        assert_eq!(read(&mut rest).await.unwrap(), data(b"", true));
        assert_eq!(read(&mut rest).await.unwrap(), Frame::Ping(7));
        assert!(read(&mut rest).await.is_err());
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_is_not_read() {
        let frame = [&[0, 0, 0, 5, 0, 0x10, 0, 1][..], &vec![0; LONGEST as usize + 1]].concat();
        assert_eq!(read(&mut frame.as_slice()).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let frame = [&[0, 0, 0, 5, 0, 0x10, 0, 0][..], &vec![0; LONGEST as usize]].concat();
        assert!(read(&mut frame.as_slice()).await.is_ok());
    }
}
