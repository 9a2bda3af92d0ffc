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
    let input = match own(io::stdin().as_fd(), OFlags::RDONLY)? {
        Own::Pipe(fd) => Side::Pipe(pipe::Receiver::from_owned_fd(fd)?),
        Own::Socket(socket) => Side::Socket(socket),
        Own::Plain => Side::Plain(tokio::io::stdin()),
    };
    if !matches!(input, Side::Plain(_)) {
        rustix::stdio::dup2_stdin(&null)?;
    }
    let output = match own(io::stdout().as_fd(), OFlags::WRONLY)? {
        Own::Pipe(fd) => Side::Pipe(pipe::Sender::from_owned_fd(fd)?),
        Own::Socket(socket) => Side::Socket(socket),
        Own::Plain => Side::Plain(tokio::io::stdout()),
    };
    if !matches!(output, Side::Plain(_)) {
        rustix::stdio::dup2_stdout(&null)?;
    }
    Ok((Input(input), Output(Some(output))))
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
