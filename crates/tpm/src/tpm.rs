//! What a caller does with a TPM.

use std::path::Path;
use std::thread;
use std::time::Duration;

use vestibule_proto::entropy::{self, Entropy};
use vestibule_proto::key::Secret;

use crate::command::{self, Command};
use crate::error::TpmError;
use crate::line::{self, Line};
use crate::object::SealedObject;
use crate::response::{self, Answer, Refusal};
use crate::session::{Exchange, Point, Salt, Session};
use crate::wire::{MOST, Reader};

/// How often a command is sent again that the TPM puts off, and how long it is waited before the first of these; each wait is
/// twice the one before: 1.3 s in all.
const REPEATS: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// An open way to a TPM. Dropped, it leaves nothing behind: every handle is given back.
pub struct Tpm {
    line: Box<dyn Line>,
}

/// What the TPM does about wrong auth values ("dictionary attack protection", part 1, section 19.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lockout {
    /// Tries that count at present.
    pub counted: u32,
    /// With so many it takes no more.
    pub most: u32,
    /// After so many seconds one of them counts no more; 0: none ever counts.
    pub interval: u32,
    /// After a wrong auth value of the lock-out itself, so many seconds until another is taken; 0: at the next start.
    pub recovery: u32,
    /// Whether it takes an auth value to set the count back or to change these limits. Without, anybody on this machine may.
    pub reserved: bool,
}

impl Lockout {
    /// Most tries in a row that a guesser may have.
    const MOST_TRIES: u32 = 32;
    /// Least seconds for each try after that, and for each try at the lock-out's own auth value, by which the limit falls.
    const LEAST_INTERVAL: u32 = 600;

    /// Whether a password may be checked in full by this TPM: who holds the whole machine has few tries in a row, then one in
    /// ten minutes at most, and can't change that.
    #[must_use]
    pub const fn limits_guesses(&self) -> bool {
        let few = self.most >= 1 && self.most <= Self::MOST_TRIES;
        let slow = self.interval >= Self::LEAST_INTERVAL && self.recovery >= Self::LEAST_INTERVAL;
        self.reserved && few && slow
    }
}

impl Tpm {
    /// Opens the device at `path` ([`crate::DEVICE`]), or the Unix socket of an emulator there.
    ///
    /// # Errors
    /// [`TpmError::Absent`], [`TpmError::Denied`], [`TpmError::Unreachable`].
    pub fn open(path: &Path) -> Result<Self, TpmError> {
        line::open(path).map(|line| Self { line })
    }

    /// For [`crate::fuzzing`].
    pub(crate) fn over(line: impl Line + 'static) -> Self {
        Self { line: Box::new(line) }
    }

    /// How it limits guesses.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn lockout(&mut self) -> Result<Lockout, TpmError> {
        const PERMANENT: u32 = 0x200;
        const LOCKOUT_AUTH_SET: u32 = 1 << 2;
        const COUNTER: u32 = 0x20e;
        let permanent = self.properties(PERMANENT, 1)?;
        let counters = self.properties(COUNTER, 4)?;
        let value = |properties: &[(u32, u32)], wanted| {
            properties.iter().find(|(number, _)| *number == wanted).map(|(_, value)| *value).ok_or(TpmError::Malformed)
        };
        Ok(Lockout {
            counted: value(&counters, COUNTER)?,
            most: value(&counters, COUNTER + 1)?,
            interval: value(&counters, COUNTER + 2)?,
            recovery: value(&counters, COUNTER + 3)?,
            reserved: value(&permanent, PERMANENT)? & LOCKOUT_AUTH_SET != 0,
        })
    }

    fn properties(&mut self, first: u32, count: u32) -> Result<Vec<(u32, u32)>, TpmError> {
        self.run(&command::properties(first, count), |answer| response::properties(answer.parameters))
    }

    /// Seals a secret. With an auth value it comes out for that value alone, and wrong ones count in the TPM's lock-out;
    /// without it comes out for every program on this machine that may use the TPM, and never counts.
    ///
    /// # Errors
    /// [`TpmError`]; [`TpmError::OwnerAuth`] if this TPM's owner lets nobody make keys.
    pub fn seal(
        &mut self,
        secret: &Secret<32>,
        auth: Option<&Secret<32>>,
        entropy: &mut dyn Entropy,
    ) -> Result<SealedObject, TpmError> {
        self.with_parent(|tpm, parent| {
            let (private, public) = tpm.with_session(parent, entropy, |tpm, session, entropy| {
                let auth_value = auth.map_or(&[][..], |auth| auth.expose());
                let sensitive = command::sensitive(auth_value, secret.expose());
                let template = command::sealed_public(auth.is_some(), &[]);
                let exchange = session.create(parent.handle, &parent.name, sensitive, &template, entropy)?;
                tpm.run_believed(&exchange, |answer| {
                    let (private, public) = response::created(answer.parameters)?;
                    Ok((private.to_vec(), public.to_vec()))
                })
            })?;
            if !is_sealed(&public, auth.is_some()) {
                return Err(TpmError::Malformed);
            }
            Ok(SealedObject { parent: parent.digest(), public, private })
        })
    }

    /// Gives back what was sealed, with the auth value that it was sealed with.
    ///
    /// # Errors
    /// [`TpmError::OtherTpm`], [`TpmError::WrongAuth`], [`TpmError::LockedOut`], and the others of [`TpmError`].
    pub fn unseal(
        &mut self,
        object: &SealedObject,
        auth: Option<&Secret<32>>,
        entropy: &mut dyn Entropy,
    ) -> Result<Secret<32>, TpmError> {
        if !is_sealed(&object.public, auth.is_some()) {
            return Err(TpmError::Malformed);
        }
        self.with_parent(|tpm, parent| {
            // Before anything that depends on the auth value is said to it.
            if parent.digest() != object.parent {
                return Err(TpmError::OtherTpm);
            }
            let load = command::load(parent.handle, &object.private, &object.public);
            let item = tpm.run(&load, |answer| Ok(answer.handle))?;
            let opened = tpm.with_session(parent, entropy, |tpm, session, entropy| {
                let auth_value = auth.map_or(&[][..], |auth| auth.expose());
                let exchange = session.unseal(item, &command::name(&object.public), auth_value, entropy);
                tpm.run_unseal(session, &exchange)
            });
            tpm.flush(item);
            opened
        })
    }

    fn run_unseal(&mut self, session: &Session, exchange: &Exchange) -> Result<Secret<32>, TpmError> {
        let bytes = self.send(&exchange.command)?;
        match response::answer(&exchange.command, &bytes)? {
            Ok(answer) => session.unsealed(exchange, &answer),
            Err(Refusal::Auth) => Err(TpmError::WrongAuth),
            Err(Refusal::Lockout) => Err(self.locked_out()),
            Err(refusal @ (Refusal::Later | Refusal::Integrity | Refusal::Other(_))) => {
                Err(refusal.of(exchange.command.code))
            }
        }
    }

    fn locked_out(&mut self) -> TpmError {
        TpmError::LockedOut { seconds: self.lockout().ok().map(|lockout| lockout.interval) }
    }

    /// Does something with the parent key loaded, and gives its handle back.
    fn with_parent<T>(&mut self, work: impl FnOnce(&mut Self, &Parent) -> Result<T, TpmError>) -> Result<T, TpmError> {
        let create = command::create_primary();
        let bytes = self.send(&create)?;
        let (handle, public) = match response::answer(&create, &bytes)? {
            Ok(answer) => (answer.handle, response::primary(answer.parameters)),
            Err(Refusal::Auth) => return Err(TpmError::OwnerAuth),
            Err(refusal @ (Refusal::Later | Refusal::Lockout | Refusal::Integrity | Refusal::Other(_))) => {
                return Err(refusal.of(create.code));
            }
        };
        let parent = public
            .and_then(|public| parent_point(public).map(|point| Parent { handle, point, name: command::name(public) }));
        let done = parent.and_then(|parent| work(self, &parent));
        self.flush(handle);
        done
    }

    /// Does something in a session of its own, and ends that.
    fn with_session<T>(
        &mut self,
        parent: &Parent,
        entropy: &mut dyn Entropy,
        work: impl FnOnce(&mut Self, &Session, &mut dyn Entropy) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let salt = Salt::to(&parent.point, entropy)?;
        let nonce: [u8; 32] = entropy::bytes(entropy);
        let start = command::start_session(parent.handle, &nonce, &salt.point);
        let (handle, session) = self.run(&start, |answer| {
            let theirs = response::session_nonce(answer.parameters);
            Ok((answer.handle, theirs.map(|theirs| Session::new(answer.handle, &salt, theirs, &nonce))))
        })?;
        let done = session.and_then(|session| work(self, &session, entropy));
        self.flush(handle);
        done
    }

    /// What was asked for is done already, and the kernel takes back what is left when the device is closed.
    fn flush(&mut self, handle: u32) {
        let _ = self.run(&command::flush(handle), |_| Ok(()));
    }

    fn run_believed<T>(
        &mut self,
        exchange: &Exchange,
        read: impl FnOnce(&Answer<'_>) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        self.run(&exchange.command, |answer| exchange.believe(answer).and_then(|()| read(answer)))
    }

    fn run<T>(
        &mut self,
        command: &Command,
        read: impl FnOnce(&Answer<'_>) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let bytes = self.send(command)?;
        response::answer(command, &bytes)?.map_err(|refusal| refusal.of(command.code)).and_then(|answer| read(&answer))
    }

    /// Sends a command, again while the TPM puts it off.
    fn send(&mut self, command: &Command) -> Result<Vec<u8>, TpmError> {
        for repeat in 0..REPEATS {
            let bytes = self.exchange(command)?;
            if response::answer(command, &bytes)?.err() != Some(Refusal::Later) {
                return Ok(bytes);
            }
            thread::sleep(FIRST_WAIT * (1 << repeat));
        }
        self.exchange(command)
    }

    fn exchange(&mut self, command: &Command) -> Result<Vec<u8>, TpmError> {
        let bytes = self.line.exchange(&command.bytes)?;
        if bytes.len() > MOST { Err(TpmError::Malformed) } else { Ok(bytes) }
    }
}

/// The parent key, loaded.
struct Parent {
    handle: u32,
    point: Point,
    name: [u8; 34],
}

impl Parent {
    fn digest(&self) -> [u8; 32] {
        let mut digest = [0; 32];
        digest.copy_from_slice(&self.name[2..]);
        digest
    }
}

/// The point of a public area that is otherwise as asked for.
///
/// # Errors
/// [`TpmError::Malformed`].
fn parent_point(public: &[u8]) -> Result<Point, TpmError> {
    let template = command::parent_public(&[], &[]);
    let head = template.len() - 4;
    let rest = public.strip_prefix(&template[..head]).ok_or(TpmError::Malformed)?;
    let mut reader = Reader::new(rest);
    let point = Point { x: coordinate(&mut reader)?, y: coordinate(&mut reader)? };
    reader.end()?;
    Ok(point)
}

/// Some TPMs leave out zeros at the beginning.
fn coordinate(reader: &mut Reader<'_>) -> Result<[u8; 32], TpmError> {
    let bytes = reader.sized(32)?;
    let mut whole = [0; 32];
    whole[32 - bytes.len()..].copy_from_slice(bytes);
    Ok(whole)
}

/// Whether a public area is that of an object as we seal it: nothing of it may be weaker than asked for.
fn is_sealed(public: &[u8], counted: bool) -> bool {
    const UNIQUE: usize = 32;
    let Some(head) = public.len().checked_sub(UNIQUE) else { return false };
    *command::sealed_public(counted, &public[head..]) == public
}
