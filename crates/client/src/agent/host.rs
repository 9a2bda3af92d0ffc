//! The side of `up`.

use super::place::{Place, is_welcome};
use super::{Answer, DeviceInfo, Listening, Request, Status, read, write};
use crate::error::ClientError;
use crate::home::CredentialFile;
use crate::names;
use crate::neighbours::Neighbours;
use crate::tunnel::Tunnel;
use std::fs::{File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

/// How long a caller may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);
/// Callers served at a time.
const CALLERS: usize = 512;
/// How long to rest when nothing can be accepted.
const REST: Duration = Duration::from_millis(100);

/// What an agent speaks for: a session that carries connections and can be ended.
pub trait Apparatus: Tunnel {
    /// How the session stands.
    fn status(&self) -> Status;

    /// The device that it runs on.
    fn device(&self) -> DeviceInfo;

    /// Signs off: the session ends at the gateway and can't be resumed.
    ///
    /// # Errors
    /// When the gateway could not be told; the session then ends by its own limits.
    fn sign_off(&self) -> impl Future<Output = Result<(), ClientError>> + Send;
}

/// A bound agent socket. Its file goes away with it.
pub struct Agent {
    listener: UnixListener,
    path: PathBuf,
    /// Held for as long as this process is the one that is *up*; the kernel lets go of it however the process ends.
    _lock: File,
}

impl Agent {
    /// Binds the socket for `file`, whose directory must exist. A socket that a dead process left is replaced. Must be called
    /// inside the async runtime, and before knocking: two `up` with one credential would take each other's admissions.
    ///
    /// # Errors
    /// [`ClientError::AlreadyRunning`], [`ClientError::Files`].
    pub fn bind(file: &CredentialFile) -> Result<Self, ClientError> {
        let lock_path = file.lock();
        let failed = |error: io::Error| ClientError::files(&lock_path, &error);
        let mut options = File::options();
        let lock = options.write(true).create(true).truncate(false).mode(0o600).open(&lock_path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ClientError::AlreadyRunning),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let path = file.socket();
        let listener = listen(&path).map_err(|error| ClientError::files(&path, &error))?;
        Ok(Self { listener, path, _lock: lock })
    }

    /// Serves until the future is dropped; pipes through it end with it. `listening` and `neighbours` are what the local listeners
    /// have.
    pub async fn serve<A: Apparatus>(self, apparatus: A, listening: Vec<Listening>, neighbours: Neighbours) {
        let listening: Arc<[Listening]> = listening.into();
        let mut callers = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if callers.len() < CALLERS => match accepted {
                    Ok((caller, _)) => {
                        callers.spawn(serve_one(caller, apparatus.clone(), Arc::clone(&listening), neighbours.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a caller");
                        tokio::time::sleep(REST).await;
                    }
                },
                Some(_) = callers.join_next() => {}
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // A file that stays behind is replaced by the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn listen(path: &PathBuf) -> io::Result<UnixListener> {
    // Whoever held it is dead: the lock is ours.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let place = Place::of(path)?;
    let listener = UnixListener::bind(place.path())?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn serve_one<A: Apparatus>(
    mut caller: UnixStream,
    apparatus: A,
    listening: Arc<[Listening]>,
    neighbours: Neighbours,
) {
    match caller.peer_cred() {
        Ok(peer) if is_welcome(peer.uid()) => {}
        Ok(peer) => return tracing::warn!(uid = peer.uid(), "a caller of another user was turned away"),
        Err(error) => return tracing::warn!(%error, "a caller without a name was turned away"),
    }
    let Ok(asked) = tokio::time::timeout(PATIENCE, read(&mut caller)).await else { return };
    let answer = match asked {
        Ok(Request::Status) => {
            let (listening, turned_away) = (listening.to_vec(), neighbours.turned_away());
            Answer::Status(Box::new(Status { listening, turned_away, ..apparatus.status() }))
        }
        Ok(Request::Services) => Answer::Services(apparatus.services().to_vec()),
        Ok(Request::Device) => Answer::Device(apparatus.device()),
        Ok(Request::SignOff) => apparatus.sign_off().await.map_or_else(Answer::Failed, |()| Answer::SignedOff),
        Ok(Request::Pipe { target }) => return pipe(caller, &apparatus, &target).await,
        Err(error) => Answer::Failed(error),
    };
    // A caller that has gone away gets no answer.
    let _ = write(&mut caller, &answer).await;
}

async fn pipe<A: Apparatus>(mut caller: UnixStream, apparatus: &A, asked: &str) {
    let opened = match names::find(&apparatus.services(), asked) {
        Ok(target) => apparatus.open(target).await,
        Err(error) => Err(error),
    };
    match opened {
        Ok(stream) => {
            if write(&mut caller, &Answer::Opened).await.is_ok() {
                let (input, output) = caller.into_split();
                // How it ended shows at both ends of it.
                let _ = apparatus.carry_io(stream, input, output).await;
            }
        }
        Err(error) => {
            let _ = write(&mut caller, &Answer::Failed(error)).await;
        }
    }
}
