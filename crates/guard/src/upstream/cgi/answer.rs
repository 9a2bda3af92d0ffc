//! What a CGI program answers (RFC 3875 section 6).

use super::Group;
use crate::upstream::UpstreamErrorKind as Kind;
use crate::{Body, BodyError};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

/// The most bytes of a head, and the most fields in it.
const HEAD: usize = 64 * 1024;
const FIELDS: usize = 256;
/// How much is read at once.
const PIECE: usize = 16 * 1024;
/// How long a program may go on after it has closed its output.
const LINGER: Duration = Duration::from_secs(30);

/// A running program's output. When it is dropped early, the program is killed.
pub(super) struct Output {
    child: Child,
    stdout: ChildStdout,
    group: Group,
    /// What has been read beyond the head.
    ahead: BytesMut,
}

impl Output {
    pub(super) fn new(child: Child, stdout: ChildStdout, group: Group) -> Self {
        Self { child, stdout, group, ahead: BytesMut::new() }
    }

    /// Reads the head's lines, within `wait`.
    pub(super) async fn head(&mut self, wait: Duration) -> Result<Vec<Bytes>, Kind> {
        timeout(wait, self.lines()).await.unwrap_or(Err(Kind::Hangs))
    }

    async fn lines(&mut self) -> Result<Vec<Bytes>, Kind> {
        let (mut lines, mut total) = (Vec::new(), 0);
        loop {
            while let Some(end) = self.ahead.iter().position(|&byte| byte == b'\n') {
                let line = self.ahead.split_to(end + 1).freeze();
                let line = line.slice(..line.len() - if line.ends_with(b"\r\n") { 2 } else { 1 });
                total += end + 1;
                if line.is_empty() {
                    return Ok(lines);
                }
                lines.push(line);
            }
            if total + self.ahead.len() > HEAD || lines.len() > FIELDS {
                return Err(Kind::BadAnswer);
            }
            self.ahead.reserve(PIECE);
            match self.stdout.read_buf(&mut self.ahead).await {
                Ok(0) | Err(_) => return Err(Kind::Broken),
                Ok(_) => {}
            }
        }
    }

    /// What follows the head, each piece within `wait` of the one before. It breaks off when the program hangs or is killed.
    pub(super) fn body(self, wait: Duration) -> Body {
        let pieces = stream::unfold(Some(self), move |output| async move {
            let mut output = output?;
            match output.piece(wait).await {
                Ok(Some(piece)) => Some((Ok(Frame::data(piece)), Some(output))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        StreamBody::new(Box::pin(pieces)).boxed_unsync()
    }

    async fn piece(&mut self, wait: Duration) -> Result<Option<Bytes>, BodyError> {
        if self.ahead.is_empty() {
            self.ahead.reserve(PIECE);
            let read = timeout(wait, self.stdout.read_buf(&mut self.ahead)).await;
            if read.map_err(|_| BodyError::Sender)?.map_err(|_| BodyError::Sender)? == 0 {
                return self.ended().await;
            }
        }
        Ok(Some(self.ahead.split().freeze()))
    }

    /// The output is closed: whole, unless the program was killed.
    async fn ended(&mut self) -> Result<Option<Bytes>, BodyError> {
        match timeout(LINGER, self.child.wait()).await {
            Ok(Ok(status)) if status.signal().is_none() => {
                self.group.release();
                Ok(None)
            }
            Ok(_) | Err(_) => Err(BodyError::Sender),
        }
    }
}

/// The answer that a head's lines make; nothing when they make none.
pub(super) fn understood(lines: Vec<Bytes>) -> Option<Response<()>> {
    let mut fields = HeaderMap::new();
    let mut status = None;
    for line in lines {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"status") {
            let code = value.get(..3).filter(|_| status.is_none())?;
            status = Some(StatusCode::from_bytes(code).ok().filter(|status| !status.is_informational())?);
        } else {
            fields.append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
        }
    }
    // A redirect within the server too goes back to the browser: its target has grants of its own.
    let redirects = fields.contains_key(header::LOCATION);
    if fields.is_empty() && status.is_none() || fields.get_all(header::CONTENT_LENGTH).iter().count() > 1 {
        return None;
    }
    let mut answer = Response::new(());
    *answer.status_mut() = status.unwrap_or(if redirects { StatusCode::FOUND } else { StatusCode::OK });
    *answer.headers_mut() = fields;
    Some(answer)
}

/// Any bytes as the head of a program's answer.
pub(crate) fn fuzz(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n').map(Bytes::copy_from_slice).collect();
    if let Some(answer) = understood(lines) {
        assert!(!answer.status().is_informational());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &str) -> Option<u16> {
        let lines = head.lines().map(|line| Bytes::from(line.to_owned())).collect();
        understood(lines).map(|answer| answer.status().as_u16())
    }

    #[test]
    fn heads() {
        assert_eq!(status("Content-Type: text/plain"), Some(200));
        assert_eq!(status("Status: 404 Not Found\nContent-Type: text/plain"), Some(404));
        assert_eq!(status("Location: /elsewhere"), Some(302));
        assert_eq!(status("Location: /elsewhere\nStatus: 307"), Some(307));
        for bad in [
            "",
            "HTTP/1.1 200 OK",
            "Status: 99",
            "Status: x",
            "Status: 101",
            "No colon",
            "a b: c",
            "Status: 200\nStatus: 200",
        ] {
            assert_eq!(status(bad), None, "{bad}");
        }
        assert_eq!(status("Content-Length: 1\nContent-Length: 2"), None);
    }
}
