//! Where each request of an HTTP/1 connection ends, for a reader that tolerates nothing (RFC 9112 section 11.2).
//!
//! Whatever two readers may understand differently is refused: a bare LF, a folded line, a length given twice or beside a transfer
//! coding, any transfer coding but `chunked`, a sloppy chunk. What passes has one meaning for every reader.

use memchr::memchr;

/// The most bytes of a chunk's line and of a trailer's.
const CHUNK_LINE: usize = 256;
/// The most bytes of chunk extensions and trailers of one body.
const EXTRAS: usize = 16 * 1024;
/// The most digits of a chunk's size, and of a length.
const SIZE_DIGITS: usize = 15;
const LENGTH_DIGITS: usize = 18;

/// How a connection begins that speaks HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// A byte that must not be read: its place in what was shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wrong(pub(super) usize);

/// Follows the bytes of one connection.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    line: Vec<u8>,
    longest: usize,
    head: Head,
    extras: usize,
    /// Nothing has come before.
    first: bool,
    /// An empty line has come before this request.
    blank: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Before or in a request's first line.
    Request,
    Field,
    Data(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    /// HTTP/2, or what follows a wish for another protocol.
    Other,
}

/// What a head says about its body.
#[derive(Clone, Copy, Default, Debug)]
struct Head {
    old: bool,
    host: bool,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    wants_upgrade: bool,
}

impl Framing {
    /// `longest`: the most bytes of a line; lines that the library finds too long first are its own to refuse.
    pub(super) fn new(longest: usize) -> Self {
        let state = State::Request;
        Self { state, line: Vec::new(), longest, head: Head::default(), extras: 0, first: true, blank: false }
    }

    /// Whether a request's head has begun and not ended.
    pub(super) fn in_head(&self) -> bool {
        match self.state {
            State::Request => !self.line.is_empty(),
            State::Field => true,
            State::Data(_) | State::ChunkSize | State::Chunk(_) | State::ChunkEnd | State::Trailer | State::Other => {
                false
            }
        }
    }

    /// Follows the next bytes.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        let mut at = 0;
        while at < bytes.len() {
            at += match self.state {
                State::Other => return Ok(()),
                State::Data(left) => self.skip(left, bytes.len() - at, State::Data),
                State::Chunk(left) => self.skip(left, bytes.len() - at, State::Chunk),
                State::Request | State::Field | State::ChunkSize | State::ChunkEnd | State::Trailer => {
                    self.read_line(&bytes[at..]).map_err(|Wrong(offset)| Wrong(at + offset))?
                }
            };
        }
        Ok(())
    }

    /// Passes over as much of a body as is there.
    fn skip(&mut self, left: u64, there: usize, state: fn(u64) -> State) -> usize {
        let step = usize::try_from(left).unwrap_or(usize::MAX).min(there);
        let left = left - step as u64;
        self.state = match (left, state(left)) {
            (0, State::Chunk(_)) => State::ChunkEnd,
            (0, _) => State::Request,
            (_, state) => state,
        };
        step
    }

    /// Takes what is there of a line; at its end, understands it.
    fn read_line(&mut self, bytes: &[u8]) -> Result<usize, Wrong> {
        let end = memchr(b'\n', bytes);
        let part = &bytes[..end.unwrap_or(bytes.len())];
        // Looked for only where there is one: this loop has no way out, and so takes many bytes at once.
        if part.iter().fold(false, |found, &byte| found | is_control(byte)) {
            return Err(Wrong(part.iter().position(|&byte| is_control(byte)).unwrap_or_default()));
        }
        if self.line.len() + part.len() > self.longest_line() {
            return Err(Wrong(0));
        }
        let Some(end) = end else {
            self.line.extend_from_slice(part);
            return Ok(part.len());
        };
        self.state =
            if self.line.is_empty() { self.next(part) } else { self.next_of_pieces(part) }.ok_or(Wrong(end))?;
        Ok(end + 1)
    }

    /// The same for a line that came in pieces, of which this is the last.
    fn next_of_pieces(&mut self, last: &[u8]) -> Option<State> {
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(last);
        let state = self.next(&line);
        line.clear();
        self.line = line;
        state
    }

    fn longest_line(&self) -> usize {
        match self.state {
            State::Request | State::Field => self.longest,
            State::ChunkEnd => 1,
            State::ChunkSize | State::Trailer | State::Data(_) | State::Chunk(_) | State::Other => CHUNK_LINE,
        }
    }

    /// What comes after this line, of which the LF is missing; nothing when it must not be.
    fn next(&mut self, line: &[u8]) -> Option<State> {
        let line = line.strip_suffix(b"\r").filter(|line| !line.contains(&b'\r'))?;
        match self.state {
            State::Request => self.request(line),
            State::Field if line.is_empty() => self.head.body(),
            State::Field => self.head.field(line).map(|()| State::Field),
            State::ChunkSize => self.chunk(line),
            State::ChunkEnd => Some(State::ChunkSize),
            State::Trailer if line.is_empty() => Some(State::Request),
            State::Trailer => self.trailer(line),
            State::Data(_) | State::Chunk(_) | State::Other => None,
        }
    }

    fn request(&mut self, line: &[u8]) -> Option<State> {
        if line.is_empty() {
            // One is forgiven before a request, as some clients end a body with it.
            return (!std::mem::replace(&mut self.blank, true)).then_some(State::Request);
        }
        let first = std::mem::replace(&mut self.first, false) && !std::mem::replace(&mut self.blank, false);
        if first && line == PREFACE {
            return Some(State::Other);
        }
        let mut parts = line.split(|&byte| byte == b' ');
        let (method, target, version) = (parts.next()?, parts.next()?, parts.next()?);
        let old = version == b"HTTP/1.0";
        let good = parts.next().is_none()
            && !method.is_empty()
            && method.iter().all(|&byte| is_token(byte))
            && method != b"CONNECT"
            && !target.is_empty()
            && !target.contains(&b'\t')
            && (old || version == b"HTTP/1.1");
        self.head = Head { old, ..Head::default() };
        self.extras = 0;
        good.then_some(State::Field)
    }

    fn chunk(&mut self, line: &[u8]) -> Option<State> {
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, extension) = line.split_at(digits);
        if digits == 0 || digits > SIZE_DIGITS || !(extension.is_empty() || extension.starts_with(b";")) {
            return None;
        }
        self.extra(extension.len())?;
        let size = u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
        Some(if size == 0 { State::Trailer } else { State::Chunk(size) })
    }

    fn trailer(&mut self, line: &[u8]) -> Option<State> {
        self.extra(line.len())?;
        let (name, _) = field(line)?;
        let framing = [&b"content-length"[..], b"transfer-encoding", b"host", b"connection", b"upgrade", b"trailer"];
        (!framing.iter().any(|bad| name.eq_ignore_ascii_case(bad))).then_some(State::Trailer)
    }

    fn extra(&mut self, length: usize) -> Option<()> {
        self.extras += length;
        (self.extras <= EXTRAS).then_some(())
    }
}

impl Head {
    fn field(&mut self, line: &[u8]) -> Option<()> {
        let (name, value) = field(line)?;
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        if is(b"host") {
            return (!std::mem::replace(&mut self.host, true)).then_some(());
        }
        if is(b"content-length") {
            let length = decimal(value)?;
            return self.length.replace(length).is_none().then_some(());
        }
        if is(b"transfer-encoding") {
            let good = value.eq_ignore_ascii_case(b"chunked") && !self.chunked && !self.old;
            self.chunked = true;
            return good.then_some(());
        }
        self.upgrade |= is(b"upgrade");
        let is_upgrade = |option: &[u8]| option.trim_ascii().eq_ignore_ascii_case(b"upgrade");
        self.wants_upgrade |= is(b"connection") && value.split(|&byte| byte == b',').any(is_upgrade);
        Some(())
    }

    /// What follows the head.
    fn body(&mut self) -> Option<State> {
        let head = std::mem::take(self);
        if head.length.is_some() && head.chunked || !head.host && !head.old {
            return None;
        }
        let has_body = head.chunked || head.length.is_some_and(|length| length > 0);
        Some(match head.length {
            // With a body its end would be in doubt.
            _ if head.upgrade && head.wants_upgrade => return (!has_body).then_some(State::Other),
            _ if head.chunked => State::ChunkSize,
            Some(length) if length > 0 => State::Data(length),
            Some(_) | None => State::Request,
        })
    }
}

/// A field's name and value; nothing for a folded line, and for a name that isn't one.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    (!name.is_empty() && name.iter().all(|&byte| is_token(byte))).then_some((name, value))
}

fn decimal(value: &[u8]) -> Option<u64> {
    let good = !value.is_empty() && value.len() <= LENGTH_DIGITS && value.iter().all(u8::is_ascii_digit);
    if good { std::str::from_utf8(value).ok()?.parse().ok() } else { None }
}

fn is_control(byte: u8) -> bool {
    byte < b' ' && byte != b'\t' && byte != b'\r' || byte == 0x7f
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// Any bytes, in pieces of this size: cut in whatever way they pass or don't.
pub(crate) fn fuzz(bytes: &[u8], piece: usize) {
    let whole = Framing::new(1_024).read(bytes);
    let mut framing = Framing::new(1_024);
    let pieces = bytes.chunks(piece.max(1)).try_for_each(|piece| framing.read(piece));
    assert_eq!(whole.is_ok(), pieces.is_ok(), "a cut makes a difference");
    assert!(whole.map_or_else(|Wrong(at)| at < bytes.len(), |()| true), "beyond the end");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where reading stops, the same whether the bytes come at once or one by one; nothing when all is well.
    fn wrong(text: &str) -> Option<usize> {
        let at_once = Framing::new(1_000).read(text.as_bytes()).err().map(|Wrong(at)| at);
        let mut framing = Framing::new(1_000);
        let slowly = text.bytes().position(|byte| framing.read(&[byte]).is_err());
        assert_eq!(at_once.is_some(), slowly.is_some(), "{text:?}");
        at_once
    }

    const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\n";

    #[test]
    fn what_has_one_meaning_passes() {
        for good in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nhost: a\r\nX: y\tz \r\n\r\nGET /2 HTTP/1.1\r\nHost:a\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x04",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n\0\n\n",
        ] {
            assert_eq!(wrong(good), None, "{good:?}");
        }
        for good in [
            "Content-Length: 3\r\n\r\n\n\0\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "Content-Length: 0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n2;a=\"b\"\r\n\n\n\r\n0\r\nX-Sum: 1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(wrong(&format!("{POST}{good}")), None, "{good:?}");
        }
    }

    #[test]
    fn what_two_readers_may_understand_differently_does_not() {
        for bad in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
            "Transfer-Encoding: xchunked\r\n\r\n",
            "Transfer-Encoding: gzip, chunked\r\n\r\n",
            "Transfer-Encoding: \x0bchunked\r\n\r\n",
            "Transfer-Encoding : chunked\r\n\r\n",
            " Transfer-Encoding: chunked\r\n\r\n",
            "X: y\r\n Transfer-Encoding: chunked\r\n\r\n",
            "X: y\nTransfer-Encoding: chunked\r\n\r\n",
            "X: y\rTransfer-Encoding: chunked\r\n\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "Content-Length: 5, 5\r\n\r\n",
            "Content-Length: +5\r\n\r\n",
            "Content-Length: -5\r\n\r\n",
            "Content-Length: 0x5\r\n\r\n",
            "Content-Length: \r\n\r\n",
            "Content-Length: 9999999999999999999999\r\n\r\n",
            "Host: b\r\n\r\n",
            "No colon\r\n\r\n",
            ": no name\r\n\r\n",
            "X\0: y\r\n\r\n",
            "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n2\nab\r\n",
            "Transfer-Encoding: chunked\r\n\r\n2;a\nab\r\n",
            "Transfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n",
            "Transfer-Encoding: chunked\r\n\r\n 2\r\nab\r\n",
            "Transfer-Encoding: chunked\r\n\r\n2 \r\nab\r\n",
            "Transfer-Encoding: chunked\r\n\r\n-2\r\nab\r\n",
            "Transfer-Encoding: chunked\r\n\r\n2\r\nabX\r\n",
            "Transfer-Encoding: chunked\r\n\r\n2\r\nab\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
            "Transfer-Encoding: chunked\r\n\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
        ] {
            assert!(wrong(&format!("{POST}{bad}")).is_some(), "{bad:?}");
        }
        for bad in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET  / HTTP/1.1\r\n",
            "GET / HTTP/1.1 \r\n",
            "GET /a b HTTP/1.1\r\n",
            "GET / HTTP/1.2\r\n",
            "GET /\r\n",
            "GET / HTTP/1.1\n",
            "CONNECT a:1 HTTP/1.1\r\n",
            "G(T / HTTP/1.1\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nPRI * HTTP/2.0\r\n\r\n",
        ] {
            assert!(wrong(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn lines_and_what_nobody_reads_are_bounded() {
        assert!(wrong(&format!("{POST}X: {}\r\n", "x".repeat(1_000))).is_some());
        assert!(wrong(&format!("{POST}Transfer-Encoding: chunked\r\n\r\n1;{}\r\n", "x".repeat(300))).is_some());
        let chunk = format!("1;{}\r\na\r\n", "x".repeat(100));
        assert!(wrong(&format!("{POST}Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(200))).is_some());
    }
}
