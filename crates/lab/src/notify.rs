//! The receiving end of `sd_notify`: how a role says that it is ready.

use std::{
    fs, io,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{Context, Result};

/// What a service manager listens on, and the last it heard.
pub(crate) struct NotifySocket {
    socket: UnixDatagram,
    path: PathBuf,
    ready: bool,
    status: Option<String>,
}

impl NotifySocket {
    /// Listens at `path`; an old socket there is removed.
    pub(crate) fn bind(path: &Path) -> Result<Self> {
        let _ = fs::remove_file(path);
        let socket = UnixDatagram::bind(path).context(path.display())?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        Ok(Self { socket, path: path.to_owned(), ready: false, status: None })
    }

    /// What `NOTIFY_SOCKET` is set to.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what has come, and tells whether `READY=1` was among all that ever came. Waits 20 ms at most.
    pub(crate) fn is_ready(&mut self) -> Result<bool> {
        let mut buffer = [0; 4096];
        while !self.ready {
            match self.socket.recv(&mut buffer) {
                Ok(length) => self.take(&String::from_utf8_lossy(&buffer[..length])),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.ready)
    }

    /// The last `STATUS=` heard.
    pub(crate) fn status(&self) -> Option<&str> {
        self.status.as_deref()
    }

    /// Forgets what it heard: for the next start of the same role.
    pub(crate) fn reset(&mut self) -> Result<()> {
        self.socket.set_nonblocking(true)?;
        let mut buffer = [0; 4096];
        while self.socket.recv(&mut buffer).is_ok() {}
        self.socket.set_nonblocking(false)?;
        (self.ready, self.status) = (false, None);
        Ok(())
    }

    fn take(&mut self, message: &str) {
        for line in message.lines() {
            match line.split_once('=') {
                Some(("READY", "1")) => self.ready = true,
                Some(("STATUS", status)) => self.status = Some(status.to_owned()),
                _ => {}
            }
        }
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hears_ready_and_status() {
        let dir = tempfile::tempdir().unwrap();
        let mut socket = NotifySocket::bind(&dir.path().join("notify")).unwrap();
        assert!(!socket.is_ready().unwrap());
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(b"STATUS=listening\nMAINPID=3", socket.path()).unwrap();
        assert!(!socket.is_ready().unwrap());
        assert_eq!(socket.status(), Some("listening"));
        sender.send_to(b"READY=1", socket.path()).unwrap();
        assert!(socket.is_ready().unwrap());
        sender.send_to(b"READY=1", socket.path()).unwrap();
        socket.reset().unwrap();
        assert!(!socket.is_ready().unwrap(), "what the former process said does not count");
    }
}
