//! L1-L4: OPAQUE inside the pinned channel.
//!
//! A try is counted on disk before KE2 leaves, so that no kill and no broken connection makes one free; success gives it
//! back. An unknown user, and a user on another's device, get the same messages and the same refusal as a wrong password.

use crate::control::Control;
use crate::directory::{CountedGuess, Device, GuessAnswer, NewSession, guess_policy};
use crate::sessions::{Session, SessionSeed};
use crate::shared::{Shared, entropy, now};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use vestibule_proto::admission::Granted;
use vestibule_proto::guess::GuessCount;
use vestibule_proto::id::{DeviceId, SessionId, UserName};
use vestibule_proto::key::Secret;
use vestibule_proto::login::{LoginNames, LoginServer, login_context};
use vestibule_proto::session::{GatewayHello, LoginFinish, Reason, SESSION_VERSION};

/// The largest L3 that is read, in bytes.
const FINISH_LIMIT: usize = 256;

/// Runs the login and begins a session.
///
/// # Errors
/// The reason to tell the client.
pub(crate) async fn login(
    shared: &Arc<Shared>,
    granted: &Granted,
    control: &mut Control,
    exporter: &[u8; 32],
    (user, ke1): (&str, &[u8]),
    address: SocketAddr,
) -> Result<Arc<Session>, Reason> {
    let device = shared.directory.device(&granted.device).map_err(|error| shared.fault(&error))?;
    let device = device.ok_or(Reason::Revoked)?;
    let claimed = UserName::parse(user).map_err(|_| Reason::Malformed)?;
    let guess = count(shared, granted.device, address).await?;

    let context = login_context(SESSION_VERSION, exporter, &granted.ticket.inner_hash, granted.ticket.id);
    let (opaque, names) = (&shared.keys.opaque, names(shared, &device, &claimed));
    // Without a record the messages are made from a fake one: right sizes, and never right.
    let record = (claimed == device.user).then_some(device.record.as_slice());
    let begun = LoginServer::begin(opaque, record, ke1, &context, &names, &mut entropy());
    let (expect_finish, ke2) = begun.map_err(|_| Reason::Malformed)?;
    control.say(&GatewayHello::Challenge { ke2, ksf: device.ksf }).await?;
    // A client that sees by KE2 that its password is wrong may just go: that was a try like any other.
    let proved = match control.hear::<LoginFinish>(FINISH_LIMIT).await {
        Ok(finish) => expect_finish.finish(&finish.ke3).map(drop).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match proved {
        Ok(()) => begin(shared, (device.user, granted.version), guess, address).await,
        Err(error) => {
            tracing::warn!(device = %device.id, user = %device.user, %address, error, "a login failed");
            Err(wrong(shared, guess).await)
        }
    }
}

fn names(shared: &Shared, device: &Device, claimed: &UserName) -> LoginNames {
    LoginNames { user: claimed.clone(), gateway: shared.keys.gateway, device: device.id }
}

/// Counts this try, unless the device has to wait or has none left.
async fn count(shared: &Arc<Shared>, device: DeviceId, from: SocketAddr) -> Result<CountedGuess, Reason> {
    let answer = shared.directory.begin_guess(device, from, now().wall).await.map_err(|error| shared.fault(&error))?;
    match answer {
        GuessAnswer::Counted(guess) => {
            shared.admission.set_guesses(device, guess.count()).await;
            Ok(guess)
        }
        GuessAnswer::Wait(wait) => Err(Reason::Wait { seconds: seconds(wait) }),
        GuessAnswer::Suspended => Err(Reason::Suspended),
        GuessAnswer::Unknown => Err(Reason::Revoked),
    }
}

/// The try stays counted; the audit log says so.
async fn wrong(shared: &Arc<Shared>, guess: CountedGuess) -> Reason {
    shared.counters.failed_login();
    let GuessCount { count: tries, .. } = guess.count();
    if let Err(error) = shared.directory.guess_was_wrong(guess, now().wall).await {
        tracing::error!(%error, "the audit log can't be written");
    }
    Reason::LoginFailed { tries, limit: guess_policy().limit }
}

/// A new session, written down before anybody hears of it, in one transaction with the end of the count.
async fn begin(
    shared: &Arc<Shared>,
    (user, version): (UserName, u16),
    guess: CountedGuess,
    address: SocketAddr,
) -> Result<Arc<Session>, Reason> {
    if shared.sessions.is_full() {
        return Err(Reason::Busy);
    }
    let (now, limits, device) = (now(), shared.settings().session, guess.device());
    let (id, resume_secret) = (SessionId::random(&mut entropy()), Secret::random(&mut entropy()));
    let new = NewSession {
        id,
        user: user.clone(),
        resume_secret: resume_secret.clone(),
        address,
        expires: now.wall.saturating_add(limits.expires),
        idle_limit: limits.idle,
        version,
    };
    shared.directory.begin_session(new, guess, now.wall).await.map_err(|error| error.reason())?;
    shared.admission.set_guesses(device, GuessCount::default()).await;
    let seed = SessionSeed {
        id,
        user,
        device,
        resume_secret,
        expires_in: limits.expires,
        idle_limit: limits.idle,
        idle_since: Duration::ZERO,
        by_login: true,
    };
    let session = shared.sessions.enter(Session::new(seed, now.mono)).map_err(|_| Reason::Busy)?;
    still_stands(shared, &session)?;
    shared.counters.begun_session();
    tracing::info!(session = %id, user = %session.user, %device, %address, "session begun");
    Ok(session)
}

/// A revocation between the session's record and its entry in the registry has ended it on disk, and did not find it here.
fn still_stands(shared: &Arc<Shared>, session: &Arc<Session>) -> Result<(), Reason> {
    let record = shared.directory.session(&session.id).map_err(|error| shared.fault(&error))?;
    if record.is_some_and(|record| record.ended.is_none()) {
        return Ok(());
    }
    shared.sessions.remove(&session.id);
    shared.tasks.spawn(session.cut(Reason::Revoked));
    Err(Reason::Revoked)
}

/// Rounded up: who waits so long is let in.
fn seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX)
}
