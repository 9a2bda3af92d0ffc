//! Standard input and output as what `ProxyCommand` expects of them: read without a thread, and closed for good when an end
//! has been reached.

use rustix::fs::{FileType, OFlags};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// The process's standard input.
pub struct Input(Side<pipe::Receiver, tokio::io::Stdin>);

/// The process's standard output. Shutting it down closes it, so that whoever reads it sees the end.
pub struct Output(Option<Side<pipe::Sender, tokio::io::Stdout>>);

/// What a standard stream is.
enum Side<P, F> {
    /// A pipe: `ProxyCommand` and shells.
    Pipe(P),
    /// A socket: super-servers, and programs that use a socket pair.
    Socket(UnixStream),
    /// A file or a terminal: read and written by a thread, because the kernel has no other way.
    Plain(F),
}

/// Takes the process's standard input and output; in their places stands `/dev/null` afterwards, where they were pipes or sockets.
/// Must be called inside the async runtime.
///
/// # Errors
/// When a stream is closed, or the kernel refuses.
pub fn take() -> io::Result<(Input, Output)> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let (input, output) = (Input::of(io::stdin().as_fd())?, Output::of(io::stdout().as_fd())?);
    if !matches!(input.0, Side::Plain(_)) {
        rustix::stdio::dup2_stdin(&null)?;
    }
    if !matches!(output.0, Some(Side::Plain(_))) {
        rustix::stdio::dup2_stdout(&null)?;
    }
    Ok((input, output))
}

impl Input {
    fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self(match own(fd, OFlags::RDONLY)? {
            Own::Pipe(fd) => Side::Pipe(pipe::Receiver::from_owned_fd(fd)?),
            Own::Socket(socket) => Side::Socket(socket),
            Own::Plain => Side::Plain(tokio::io::stdin()),
        }))
    }
}

impl Output {
    fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self(Some(match own(fd, OFlags::WRONLY)? {
            Own::Pipe(fd) => Side::Pipe(pipe::Sender::from_owned_fd(fd)?),
            Own::Socket(socket) => Side::Socket(socket),
            Own::Plain => Side::Plain(tokio::io::stdout()),
        })))
    }
}

enum Own {
    Pipe(OwnedFd),
    Socket(UnixStream),
    Plain,
}

/// A descriptor of our own for what `fd` leads to, non-blocking where that can be.
fn own(fd: BorrowedFd<'_>, access: OFlags) -> io::Result<Own> {
    match FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) {
        FileType::Fifo => pipe_of(fd, access).map(Own::Pipe),
        FileType::Socket => {
            let socket = StdUnixStream::from(fd.try_clone_to_owned()?);
            socket.set_nonblocking(true)?;
            UnixStream::from_std(socket).map(Own::Socket)
        }
        FileType::RegularFile
        | FileType::Directory
        | FileType::Symlink
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => Ok(Own::Plain),
    }
}

/// The same pipe, opened anew: the descriptor that was handed to us may be shared with other processes, which don't expect
/// it to stop blocking. Where that is forbidden (a pipe of another user's) the shared one has to do.
fn pipe_of(fd: BorrowedFd<'_>, access: OFlags) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, rustix::fs::Mode::empty()) {
        Ok(own) => Ok(own),
        Err(_) => fd.try_clone_to_owned(),
    }
}

impl AsyncRead for Input {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Side::Pipe(pipe) => Pin::new(pipe).poll_read(cx, buffer),
            Side::Socket(socket) => Pin::new(socket).poll_read(cx, buffer),
            Side::Plain(file) => Pin::new(file).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Output {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Some(Side::Pipe(pipe)) => Pin::new(pipe).poll_write(cx, bytes),
            Some(Side::Socket(socket)) => Pin::new(socket).poll_write(cx, bytes),
            Some(Side::Plain(file)) => Pin::new(file).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Some(Side::Pipe(pipe)) => Pin::new(pipe).poll_write_vectored(cx, slices),
            Some(Side::Socket(socket)) => Pin::new(socket).poll_write_vectored(cx, slices),
            Some(Side::Plain(file)) => Pin::new(file).poll_write_vectored(cx, slices),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        !matches!(self.0, Some(Side::Plain(_)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Some(Side::Pipe(pipe)) => Pin::new(pipe).poll_flush(cx),
            Some(Side::Socket(socket)) => Pin::new(socket).poll_flush(cx),
            Some(Side::Plain(file)) => Pin::new(file).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = match &mut self.0 {
            Some(Side::Pipe(pipe)) => Pin::new(pipe).poll_shutdown(cx),
            Some(Side::Socket(socket)) => Pin::new(socket).poll_shutdown(cx),
            Some(Side::Plain(file)) => Pin::new(file).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        };
        if ended.is_ready() {
            self.0 = None;
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeReader, PipeWriter, Read, Write};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn is_blocking(fd: impl AsFd) -> bool {
        !rustix::fs::fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK)
    }

    #[tokio::test]
    async fn a_pipe_is_read_without_changing_it_for_those_who_share_it() {
        let (shared, mut writer): (PipeReader, PipeWriter) = io::pipe().unwrap();
        let mut input = Input::of(shared.as_fd()).unwrap();
        assert!(matches!(input.0, Side::Pipe(_)) && is_blocking(&shared));
        writer.write_all(b"hello").unwrap();
        let mut seen = [0; 5];
        input.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"hello");
        drop(writer);
        assert_eq!(input.read(&mut seen).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn shutting_an_output_down_ends_it_for_its_reader() {
        let (mut reader, shared) = io::pipe().unwrap();
        let mut output = Output::of(shared.as_fd()).unwrap();
        assert!(matches!(output.0, Some(Side::Pipe(_))) && is_blocking(&shared));
        // As `take` does: nothing else of this process leads there any more.
        drop(shared);
        // More than a pipe holds.
        let sent = vec![7; 1 << 20];
        let expected = sent.clone();
        let reading = std::thread::spawn(move || {
            let mut seen = Vec::new();
            reader.read_to_end(&mut seen).unwrap();
            assert!(seen == expected);
        });
        output.write_all(&sent).await.unwrap();
        output.shutdown().await.unwrap();
        let ended = tokio::task::spawn_blocking(move || reading.join());
        assert!(ended.await.unwrap().is_ok(), "the reader saw all and then the end, while the output still lives");
        assert_eq!(output.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn sockets_work_in_both_places() {
        let (ours, theirs) = StdUnixStream::pair().unwrap();
        let (mut input, mut output) = (Input::of(ours.as_fd()).unwrap(), Output::of(ours.as_fd()).unwrap());
        drop(ours);
        theirs.set_nonblocking(true).unwrap();
        let mut theirs = UnixStream::from_std(theirs).unwrap();
        output.write_all(b"out").await.unwrap();
        output.shutdown().await.unwrap();
        let mut seen = Vec::new();
        theirs.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, b"out");
        theirs.write_all(b"in").await.unwrap();
        theirs.shutdown().await.unwrap();
        seen.clear();
        input.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, b"in");
    }

    #[tokio::test]
    async fn files_are_left_to_threads() {
        let file = tempfile::tempfile().unwrap();
        assert!(matches!(own(file.as_fd(), OFlags::RDONLY), Ok(Own::Plain)));
    }
}
