//! The administration socket of a role: one line in, an answer out, on a Unix socket (0600) that serves the same user
//! and root alone.
//!
//! What they mean is the role's business. A line ends with `\n` and has at most [`MAX_LINE`] bytes. A longer answer, as a
//! list may be, comes in several lines: each but the last ends with [`GOES_ON`] before its `\n`.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::geteuid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::error::StoreError;
use crate::private;

/// Longest line in either direction, in bytes, without its `\n`.
pub const MAX_LINE: usize = 1 << 20;
/// Longest answer, in bytes, all lines together.
pub const MAX_ANSWER: usize = 64 << 20;
/// The last byte of a line whose answer goes on with the next line. It occurs in no text, nor in JSON.
pub const GOES_ON: u8 = 0x1f;
/// How much of an answer stands in one line.
const PIECE: usize = MAX_LINE - 1;
/// Connections served at a time; further ones wait to be accepted.
const CONNECTIONS: usize = 16;
/// How long a connection may take to bring its next line, or to take its answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest path that fits into a socket address, in bytes.
const ADDRESS_LEN: usize = 100;

/// Why a socket was not served or not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SocketError {
    /// Nobody listens there: the role isn't running.
    #[error("{}: nobody answers, the role is not running", .0.display())]
    NotRunning(PathBuf),
    /// Another process serves this socket already.
    #[error("{}: the role is already running", .0.display())]
    AlreadyRunning(PathBuf),
    /// The other side closed without an answer: it is shutting down, or we are neither its user nor root.
    #[error("{}: closed without an answer (are you its user, or root?)", .0.display())]
    Closed(PathBuf),
    /// No answer in time.
    #[error("{}: no answer in time", .0.display())]
    Timeout(PathBuf),
    /// The request is longer than [`MAX_LINE`], or the answer longer than [`MAX_ANSWER`].
    #[error("{}: the request is longer than 1 MiB, or the answer than 64 MiB", .0.display())]
    TooLong(PathBuf),
    /// The file system or the kernel refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A bound administration socket. Its file goes away with it.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Binds `path` (0600, in a directory that is ours alone). A socket file that a dead process left is replaced.
    /// Must be called inside the async runtime. Hold the role's [`RoleLock`](crate::RoleLock).
    ///
    /// Errors: [`SocketError::AlreadyRunning`], [`SocketError::Store`].
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        private::ensure_directory(private::directory_of(path))?;
        clear_stale(path)?;
        let failed = |error: io::Error| SocketError::Store(StoreError::from_io(&error, path));
        let address = Address::of(path).map_err(failed)?;
        let listener = UnixListener::bind(&address.path).map_err(failed)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves until the future is dropped; that cuts the connections too. `handler` gets a line without its `\n` and
    /// returns the answer, which must contain neither one nor [`GOES_ON`], and have at most [`MAX_ANSWER`] bytes.
    pub async fn serve<H, F>(self, handler: H)
    where
        H: Fn(Vec<u8>) -> F + Send + Sync + 'static,
        F: Future<Output = Vec<u8>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                    Ok((stream, _)) => { connections.spawn(serve_one(stream, Arc::clone(&handler))); }
                    Err(error) => self.rest_after(&error).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    /// Out of file descriptors, mostly: trying again at once would only burn the processor.
    async fn rest_after(&self, error: &io::Error) {
        tracing::warn!(%error, socket = %self.path.display(), "cannot accept an administration connection");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A file that stays behind is replaced by the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Sends one line and waits up to `patience` for the answer.
pub async fn ask(path: &Path, line: &[u8], patience: Duration) -> Result<Vec<u8>, SocketError> {
    if line.len() > MAX_LINE {
        return Err(SocketError::TooLong(path.to_owned()));
    }
    let stream = connect(path).await?;
    match timeout(patience, exchange(stream, line)).await {
        Ok(Ok(Line::Whole(answer))) => Ok(answer),
        Ok(Ok(Line::TooLong)) => Err(SocketError::TooLong(path.to_owned())),
        Ok(Ok(Line::End) | Err(_)) => Err(SocketError::Closed(path.to_owned())),
        Err(_) => Err(SocketError::Timeout(path.to_owned())),
    }
}

async fn connect(path: &Path) -> Result<UnixStream, SocketError> {
    let attempt = async { UnixStream::connect(&Address::of(path)?.path).await };
    attempt.await.map_err(|error| {
        if nobody_there(&error) {
            SocketError::NotRunning(path.to_owned())
        } else {
            SocketError::Store(StoreError::from_io(&error, path))
        }
    })
}

async fn exchange(mut stream: UnixStream, line: &[u8]) -> io::Result<Line> {
    stream.write_all(line).await?;
    stream.write_all(b"\n").await?;
    read_answer(&mut BufReader::new(stream)).await
}

/// An answer, put together from its lines.
async fn read_answer(stream: &mut BufReader<UnixStream>) -> io::Result<Line> {
    let mut answer = Vec::new();
    loop {
        let Line::Whole(mut line) = read_line(stream).await? else {
            return Ok(Line::End);
        };
        let goes_on = line.pop_if(|last| *last == GOES_ON).is_some();
        if answer.len() + line.len() > MAX_ANSWER {
            return Ok(Line::TooLong);
        }
        answer.append(&mut line);
        if !goes_on {
            return Ok(Line::Whole(answer));
        }
    }
}

async fn write_answer(stream: &mut BufReader<UnixStream>, answer: &[u8]) -> io::Result<()> {
    let mut lines = answer.chunks(PIECE).peekable();
    while let Some(line) = lines.next() {
        let end: &[u8] = if lines.peek().is_some() { &[GOES_ON, b'\n'] } else { b"\n" };
        let piece = [line, end].concat();
        // Each piece has its time: a long answer is not a slow reader.
        timeout(PATIENCE, stream.write_all(&piece)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    }
    if answer.is_empty() { stream.write_all(b"\n").await } else { Ok(()) }
}

async fn serve_one<H, F>(stream: UnixStream, handler: Arc<H>)
where
    H: Fn(Vec<u8>) -> F,
    F: Future<Output = Vec<u8>>,
{
    match stream.peer_cred() {
        Ok(peer) if welcome(peer.uid(), geteuid().as_raw()) => {}
        Ok(peer) => return tracing::warn!(uid = peer.uid(), "administration refused: another user"),
        Err(error) => return tracing::warn!(%error, "administration refused: unknown user"),
    }
    let mut stream = BufReader::new(stream);
    while let Ok(Ok(Line::Whole(line))) = timeout(PATIENCE, read_line(&mut stream)).await {
        let answer = handler(line).await;
        if write_answer(&mut stream, &answer).await.is_err() {
            return;
        }
    }
}

/// Who may administrate: the user that the role runs as, and root.
fn welcome(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

enum Line {
    Whole(Vec<u8>),
    TooLong,
    End,
}

async fn read_line(stream: &mut BufReader<UnixStream>) -> io::Result<Line> {
    let mut line = Vec::new();
    stream.take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line).await?;
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Line::Whole(line));
    }
    Ok(if line.len() > MAX_LINE { Line::TooLong } else { Line::End })
}

fn clear_stale(path: &Path) -> Result<(), SocketError> {
    let failed = |error: io::Error| SocketError::Store(StoreError::from_io(&error, path));
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(failed(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is not a socket is in the way",
            )));
        }
        Ok(_) => {}
    }
    let address = Address::of(path).map_err(failed)?;
    match std::os::unix::net::UnixStream::connect(&address.path) {
        Ok(_) => Err(SocketError::AlreadyRunning(path.to_owned())),
        Err(error) if nobody_there(&error) => std::fs::remove_file(path).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

fn nobody_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// A path short enough for a socket address (108 bytes): a long one is reached through its opened directory.
struct Address {
    path: PathBuf,
    _directory: Option<File>,
}

impl Address {
    fn of(path: &Path) -> io::Result<Self> {
        let Some(name) = path.file_name().filter(|_| path.as_os_str().len() > ADDRESS_LEN) else {
            return Ok(Self { path: path.to_owned(), _directory: None });
        };
        let directory = File::open(private::directory_of(path))?;
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _directory: Some(directory) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn root() -> tempfile::TempDir {
        tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
    }

    async fn echo(mut line: Vec<u8>) -> Vec<u8> {
        line.reverse();
        line
    }

    async fn served(path: &Path) -> JoinSet<()> {
        let listener = Listener::bind(path).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(listener.serve(echo));
        tasks
    }

    #[tokio::test]
    async fn a_line_is_answered_by_a_line() {
        let root = root();
        let path = root.path().join("gateway.sock");
        let _serving = served(&path).await;
        assert_eq!(ask(&path, b"abc", SOON).await.unwrap(), b"cba");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let longest = vec![b'x'; MAX_LINE];
        assert_eq!(ask(&path, &longest, SOON).await.unwrap().len(), MAX_LINE);
    }

    #[tokio::test]
    async fn a_long_answer_comes_in_several_lines() {
        let root = root();
        let path = root.path().join("s");
        let mut tasks = JoinSet::new();
        let text = |length: usize| (0..length).map(|n| b'a' + (n % 23) as u8).collect::<Vec<u8>>();
        tasks.spawn(
            Listener::bind(&path)
                .unwrap()
                .serve(move |line| async move { text(String::from_utf8(line).unwrap().parse().unwrap()) }),
        );
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 5 * PIECE + 7, MAX_ANSWER] {
            let answer = ask(&path, length.to_string().as_bytes(), PATIENCE).await.unwrap();
            assert!(answer == text(length), "{length}: {}", answer.len());
        }
        let length = (MAX_ANSWER + 1).to_string();
        assert_eq!(ask(&path, length.as_bytes(), PATIENCE).await, Err(SocketError::TooLong(path.clone())));
        assert_eq!(ask(&path, b"3", SOON).await.unwrap(), text(3), "others are still served");
    }

    #[tokio::test]
    async fn a_line_without_end_is_dropped_at_its_bound() {
        let root = root();
        let path = root.path().join("s");
        let _serving = served(&path).await;
        assert_eq!(ask(&path, &vec![b'x'; MAX_LINE + 1], SOON).await, Err(SocketError::TooLong(path.clone())));
        let mut stream = UnixStream::connect(&path).await.unwrap();
        // The other side stops reading at the bound and closes.
        let _ = stream.write_all(&vec![b'x'; MAX_LINE + 2]).await;
        let mut answer = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("closed in time");
        assert!(answer.is_empty());
        assert_eq!(ask(&path, b"ab", SOON).await.unwrap(), b"ba", "others are still served");
    }

    #[tokio::test]
    async fn nobody_there_is_told_apart() {
        let root = root();
        let path = root.path().join("s");
        assert_eq!(ask(&path, b"x", SOON).await, Err(SocketError::NotRunning(path.clone())));
        // A dead process leaves its socket file.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert_eq!(ask(&path, b"x", SOON).await, Err(SocketError::NotRunning(path.clone())));
        let _serving = served(&path).await;
        assert_eq!(Listener::bind(&path).unwrap_err(), SocketError::AlreadyRunning(path));
    }

    #[tokio::test]
    async fn no_answer_in_time_and_closed_without_answer() {
        let root = root();
        let path = root.path().join("s");
        let mut tasks = JoinSet::new();
        tasks.spawn(Listener::bind(&path).unwrap().serve(|_| std::future::pending()));
        assert_eq!(ask(&path, b"x", Duration::from_millis(50)).await, Err(SocketError::Timeout(path.clone())));
        let asking = tokio::spawn({
            let path = path.clone();
            async move { ask(&path, b"x", SOON).await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        tasks.shutdown().await;
        assert_eq!(asking.await.unwrap(), Err(SocketError::Closed(path.clone())));
        assert!(!path.exists(), "the file goes with its listener");
    }

    #[tokio::test]
    async fn a_path_longer_than_a_socket_address_works() {
        let root = root();
        let path = root.path().join("d".repeat(120)).join("gateway.sock");
        let _serving = served(&path).await;
        assert_eq!(ask(&path, b"abc", SOON).await.unwrap(), b"cba");
        assert!(path.exists());
    }

    #[tokio::test]
    async fn many_connections_get_their_own_answers() {
        let root = root();
        let path = root.path().join("s");
        let _serving = served(&path).await;
        let mut asking = JoinSet::new();
        for n in 0..100_u32 {
            let path = path.clone();
            asking.spawn(async move { (n, ask(&path, format!("{n:03}").as_bytes(), SOON).await.unwrap()) });
        }
        let mut seen = BTreeSet::new();
        while let Some(Ok((n, mut answer))) = asking.join_next().await {
            answer.reverse();
            assert_eq!(answer, format!("{n:03}").into_bytes());
            seen.insert(n);
        }
        assert_eq!(seen.len(), 100);
    }

    #[tokio::test]
    async fn other_files_are_not_cleared_away() {
        let root = root();
        let path = root.path().join("notes.txt");
        std::fs::write(&path, "mine").unwrap();
        Listener::bind(&path).unwrap_err();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn the_same_user_and_root_are_welcome() {
        for (peer, own, expected) in [(1000, 1000, true), (0, 1000, true), (1001, 1000, false), (1000, 0, false)] {
            assert_eq!(welcome(peer, own), expected);
        }
    }
}
