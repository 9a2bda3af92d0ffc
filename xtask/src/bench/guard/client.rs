//! A client that costs next to nothing: bytes ready to be sent, and answers of which only the end is looked for.

use super::site::Target;
use crate::run::Result;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// The end of an answer in chunks; none of the bodies has it.
const END: &[u8] = b"\r\n0\r\n\r\n";
/// What is read at once.
const READ: usize = 1 << 18;

/// A connection that is kept, and its buffer.
pub(super) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

/// The bytes of a browser's request.
pub(super) fn get(target: Target) -> Vec<u8> {
    let (accept, dest, mode) = match target {
        Target::Style(_) => ("text/css,*/*;q=0.1", "style", "no-cors"),
        Target::Page(_) | Target::Streamed | Target::Download => {
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "document", "navigate")
        }
    };
    format!(
        "GET {target} HTTP/1.1\r\nHost: orders.localhost:8080\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: {accept}\r\n\
         Accept-Language: en\r\nSec-Fetch-Dest: {dest}\r\nSec-Fetch-Mode: {mode}\r\nSec-Fetch-Site: same-origin\r\n\r\n"
    )
    .into_bytes()
}

impl Client {
    /// Connects.
    pub(super) fn to(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; READ], filled: 0 })
    }

    /// Sends bytes.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Reads the whole answer, which must be small enough and go well.
    pub(super) fn answer(&mut self) -> Result<&[u8]> {
        self.filled = 0;
        let mut length = None;
        loop {
            let read = self.stream.read(&mut self.buffer[self.filled..])?;
            if read == 0 {
                return Err(format!("no whole answer, but {}", self.said()).into());
            }
            self.filled += read;
            if length.is_none() {
                length = Length::of(&self.buffer[..self.filled]);
            }
            if length.as_ref().is_some_and(|length| length.is_reached(&self.buffer[..self.filled])) {
                break;
            }
        }
        if !self.buffer.starts_with(b"HTTP/1.1 200") && !self.buffer.starts_with(b"HTTP/1.1 204") {
            return Err(self.said().into());
        }
        Ok(&self.buffer[..self.filled])
    }

    /// Reads until something of the answer's body is there.
    pub(super) fn first_of_body(&mut self) -> Result<Reading> {
        self.filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[self.filled..])?;
            self.filled += read;
            let head = head_length(&self.buffer[..self.filled]);
            if let (Some(head), Some(length)) = (head, Length::of(&self.buffer[..self.filled]))
                && (self.filled > head || matches!(length, Length::Known(whole) if whole == head))
            {
                let last = self.buffer[..self.filled].to_vec();
                return Ok(Reading { length, total: self.filled, last });
            }
            if read == 0 {
                return Err(format!("no answer, but {}", self.said()).into());
            }
        }
    }

    /// Reads once more and throws it away.
    pub(super) fn some(&mut self, reading: &mut Reading) -> Result<()> {
        let read = self.stream.read(&mut self.buffer)?;
        if read == 0 {
            return Err(format!("broken off after {} bytes", reading.total).into());
        }
        reading.total += read;
        reading.last.extend_from_slice(&self.buffer[read.saturating_sub(END.len())..read]);
        reading.last.drain(..reading.last.len().saturating_sub(END.len()));
        Ok(())
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.buffer[..self.filled.min(600)]).into_owned()
    }
}

/// An answer that is being read and thrown away.
pub(super) struct Reading {
    length: Length,
    /// The bytes of it that have come, head and all.
    pub(super) total: usize,
    last: Vec<u8>,
}

impl Reading {
    /// Whether it has come to its end.
    pub(super) fn is_over(&self) -> bool {
        self.length.is_reached_by(self.total, &self.last)
    }
}

/// How an answer ends.
enum Length {
    Known(usize),
    Chunked,
}

impl Length {
    /// Of an answer whose head is there.
    fn of(bytes: &[u8]) -> Option<Self> {
        let head = head_length(bytes)?;
        let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
        if text.contains("transfer-encoding: chunked") {
            return Some(Self::Chunked);
        }
        let value = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        Some(Self::Known(head + value.and_then(|value| value.trim().parse::<usize>().ok()).unwrap_or(0)))
    }

    fn is_reached(&self, bytes: &[u8]) -> bool {
        self.is_reached_by(bytes.len(), bytes)
    }

    fn is_reached_by(&self, total: usize, last: &[u8]) -> bool {
        match self {
            Self::Known(length) => total >= *length,
            Self::Chunked => last.ends_with(END),
        }
    }
}

fn head_length(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

#[cfg(test)]
mod tests {
    use super::Length;

    #[test]
    fn an_answer_ends_where_it_ends() {
        let known = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab";
        let length = Length::of(known).unwrap();
        assert!(length.is_reached(known) && !length.is_reached(&known[..known.len() - 1]));
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
        let length = Length::of(chunked).unwrap();
        assert!(length.is_reached(chunked) && !length.is_reached(&chunked[..chunked.len() - 3]));
        assert!(Length::of(b"HTTP/1.1 200 OK\r\n").is_none());
    }
}
