//! The way to the TPM: bytes out, bytes in.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;
use rustix::process::getuid;

use crate::error::TpmError;
use crate::wire::MOST;

/// How long an emulator may take for one command and its answer; the kernel has limits of its own for a device.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who carries a command to a TPM.
pub(crate) trait Line: Send {
    /// Sends a command and waits for its answer, of at most [`MOST`] bytes.
    ///
    /// # Errors
    /// [`TpmError::Unreachable`], [`TpmError::Malformed`] for an answer that is too long.
    fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>, TpmError>;
}

/// Opens the device, or the socket of an emulator, at `path`.
///
/// # Errors
/// [`TpmError::Absent`], [`TpmError::Denied`], [`TpmError::Unreachable`].
pub(crate) fn open(path: &Path) -> Result<Box<dyn Line>, TpmError> {
    let kind = std::fs::metadata(path).map_err(|error| trouble(&error))?.file_type();
    if kind.is_socket() {
        let socket = UnixStream::connect(path).map_err(|error| trouble(&error))?;
        // Whoever else put a socket there would learn what is sealed.
        let owner = socket_peercred(&socket).map_err(|error| trouble(&error.into()))?.uid;
        if owner != getuid() && !owner.is_root() {
            return Err(TpmError::Denied);
        }
        socket.set_write_timeout(Some(PATIENCE)).map_err(|error| trouble(&error))?;
        Ok(Box::new(socket))
    } else if kind.is_char_device() {
        let device = File::options().read(true).write(true).open(path).map_err(|error| trouble(&error))?;
        Ok(Box::new(device))
    } else {
        Err(TpmError::Unreachable(ErrorKind::InvalidInput))
    }
}

fn trouble(error: &io::Error) -> TpmError {
    let kind = error.kind();
    if matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory) {
        TpmError::Absent
    } else if kind == ErrorKind::PermissionDenied {
        TpmError::Denied
    } else {
        TpmError::Unreachable(kind)
    }
}

impl Line for File {
    /// The driver takes a command whole, and gives its answer whole.
    fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>, TpmError> {
        self.write_all(command).map_err(|error| trouble(&error))?;
        let mut answer = vec![0; MOST];
        let length = self.read(&mut answer).map_err(|error| trouble(&error))?;
        answer.truncate(length);
        Ok(answer)
    }
}

impl Line for UnixStream {
    fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>, TpmError> {
        let until = Instant::now() + PATIENCE;
        self.write_all(command).map_err(|error| trouble(&error))?;
        let mut head = [0; 10];
        read_until(self, &mut head, until)?;
        let length = u32::from_be_bytes([head[2], head[3], head[4], head[5]]);
        let length = usize::try_from(length).ok().filter(|length| (head.len()..=MOST).contains(length));
        let mut answer = head.to_vec();
        answer.resize(length.ok_or(TpmError::Malformed)?, 0);
        read_until(self, &mut answer[head.len()..], until)?;
        Ok(answer)
    }
}

/// Fills `bytes`, unless the time is over before.
fn read_until(socket: &mut UnixStream, mut bytes: &mut [u8], until: Instant) -> Result<(), TpmError> {
    while !bytes.is_empty() {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left)).map_err(|error| trouble(&error))?;
        match socket.read(bytes) {
            Ok(0) => return Err(TpmError::Unreachable(ErrorKind::UnexpectedEof)),
            Ok(count) => bytes = &mut bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(trouble(&error)),
        }
        if Instant::now() > until {
            return Err(TpmError::Unreachable(ErrorKind::TimedOut));
        }
    }
    Ok(())
}
