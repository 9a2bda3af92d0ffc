//! What the gateway has to tell its controller: rows to publish and to withdraw.
//!
//! Nothing is kept for a link that is down: a new link begins with the full set from the directory, and whoever
//! changes the directory writes there first and tells the outbox second.

use crate::audit;
use crate::keys::{Keys, KeysError};
use crate::shared::Shared;
use quinn::Connection;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};
use vestibule_dark::framed::{FramedError, read_frame, write_frame};
use vestibule_proto::id::LoginDigest;
use vestibule_proto::link::{
    FromController, LINK_NEWEST, LeftOut, PublishedRow, ROWS_PER_PART, ToController, rows_digest,
};
use vestibule_store::StoreError;

/// How long the controller may take to answer one request.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// One change that the controller does not know yet.
pub(crate) enum Change {
    /// A row is to be in force.
    Publish(PublishedRow),
    /// A row is to be gone.
    Withdraw(LoginDigest),
    /// Clients reach the gateway elsewhere.
    Addresses(Vec<SocketAddr>),
    /// The gateway has another TLS key.
    Key,
}

/// Changes on their way, in order; none while the link is down.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: Mutex<Option<VecDeque<Item>>>,
    filled: Notify,
}

struct Item {
    change: Change,
    done: oneshot::Sender<bool>,
}

/// Why publishing over a link came to an end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    /// The link broke.
    #[error(transparent)]
    Framed(#[from] FramedError),
    /// The link broke.
    #[error(transparent)]
    Lost(#[from] quinn::ConnectionError),
    /// The controller takes too long.
    #[error("the controller did not answer within {ANSWER_WITHIN:?}")]
    Slow,
    /// The controller refuses the full set.
    #[error("the controller refuses this gateway's rows")]
    Refused,
    /// The controller can't write the full set down.
    #[error("the controller can't write this gateway's rows down")]
    Storage,
    /// The rows can't be read.
    #[error(transparent)]
    Directory(#[from] StoreError),
    /// That the controller has another key can't be written down.
    #[error(transparent)]
    Keys(#[from] KeysError),
}

impl Outbox {
    /// From now on changes are queued: to be called before the full set is read.
    pub(crate) fn open(&self) {
        *self.queue() = Some(VecDeque::new());
    }

    /// The link is down: nothing is queued any more, and who waits is told no.
    pub(crate) fn shut(&self) {
        *self.queue() = None;
    }

    /// Hands a change on. The receiver gets true when the controller has it in force; false or an error when the link
    /// is down, which the next link makes good.
    pub(crate) fn put(&self, change: Change) -> oneshot::Receiver<bool> {
        let (done, receiver) = oneshot::channel();
        if let Some(queue) = self.queue().as_mut() {
            queue.push_back(Item { change, done });
            self.filled.notify_one();
        }
        receiver
    }

    /// Sends the full set, then changes as they come, until the link breaks. While the controller leaves rows out the full
    /// set is sent again now and then.
    pub(crate) async fn publish(
        &self,
        shared: &Arc<Shared>,
        connection: &Connection,
        rows: Vec<PublishedRow>,
    ) -> Result<(), PublishError> {
        send_all(shared, connection, rows).await?;
        loop {
            let retry = shared.link.left_out().retry();
            let item = tokio::select! {
                item = self.next() => item,
                () = at(retry) => {
                    // What is queued meanwhile is sent behind it once more, which does no harm.
                    send_all(shared, connection, shared.directory.published_rows().await?).await?;
                    continue;
                }
            };
            let Some(Item { change, done }) = item else { return Ok(()) };
            let about = About::of(&change);
            let is_in_force = match request(&shared.keys, change) {
                Some(request) => {
                    let answer = ask(connection, &request).await?;
                    let is_done = answer == FromController::Done;
                    settle(shared, about, answer);
                    is_done
                }
                None => hand_over(shared, connection).await?,
            };
            // Nobody has to wait for the outcome.
            let _ = done.send(is_in_force);
        }
    }

    async fn next(&self) -> Option<Item> {
        loop {
            let filled = self.filled.notified();
            if let Some(item) = self.queue().as_mut()?.pop_front() {
                return Some(item);
            }
            filled.await;
        }
    }

    fn queue(&self) -> MutexGuard<'_, Option<VecDeque<Item>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a change is asked with; [`Change::Key`] has a way of its own.
fn request(keys: &Keys, change: Change) -> Option<ToController> {
    match change {
        Change::Publish(row) => {
            let signature = sign(keys, std::slice::from_ref(&row));
            Some(ToController::Publish { row, signature })
        }
        Change::Withdraw(digest) => Some(ToController::Withdraw { digest }),
        Change::Addresses(addresses) => Some(ToController::Addresses { addresses }),
        Change::Key => None,
    }
}

/// By the key that the controller knows.
fn sign(keys: &Keys, rows: &[PublishedRow]) -> [u8; 64] {
    keys.tls().at_controller().sign(&rows_digest(&keys.gateway, rows))
}

/// Hands the link and the rows over to the present key, if the controller does not have it and would understand. Says whether
/// it has it then.
pub(super) async fn hand_over(shared: &Arc<Shared>, connection: &Connection) -> Result<bool, PublishError> {
    let keys = &shared.keys;
    let Some(told) = keys.tls().hand_over(&keys.gateway) else { return Ok(true) };
    if !shared.link.speaks(LINK_NEWEST) {
        tracing::warn!(
            "the controller's version can't take this gateway's new key: the former one goes on between the two"
        );
        return Ok(false);
    }
    let spki = told.spki;
    match ask(connection, &ToController::HandOver(told)).await? {
        FromController::Done => {
            let (worker, dir) = (shared.clone(), shared.settings().dir.clone());
            let noted = tokio::task::spawn_blocking(move || worker.keys.linked_under(&dir, &spki)).await;
            noted.map_err(|_| PublishError::Storage)??;
            Ok(true)
        }
        FromController::Refused | FromController::Without(_) => Err(PublishError::Refused),
        FromController::Storage => Ok(false),
    }
}

/// What a change was about, once it is sent.
enum About {
    Published(LoginDigest),
    Withdrawn(LoginDigest),
    Addresses,
    Key,
}

impl About {
    fn of(change: &Change) -> Self {
        match change {
            Change::Publish(row) => Self::Published(row.digest),
            Change::Withdraw(digest) => Self::Withdrawn(*digest),
            Change::Addresses(_) => Self::Addresses,
            Change::Key => Self::Key,
        }
    }
}

/// Notes what became of a change.
fn settle(shared: &Arc<Shared>, about: About, answer: FromController) {
    match (answer, about) {
        (FromController::Done, About::Published(digest)) => shared.link.left_out().published(&digest),
        (FromController::Done, About::Withdrawn(digest)) => {
            shared.link.left_out().withdrawn(&digest, Instant::now());
        }
        (FromController::Done, About::Addresses | About::Key) => {}
        (FromController::Without(left_out), _) => {
            let news = shared.link.left_out().one(left_out, is_ours(shared), Instant::now());
            audit::tell_left_out(shared, news);
        }
        (answer @ (FromController::Refused | FromController::Storage), _) => {
            tracing::error!(?answer, "the controller did not take a change of this gateway's rows");
        }
    }
}

/// Rows are told by their digests: those of others mean nothing here.
fn is_ours(shared: &Shared) -> impl Fn(&LoginDigest) -> bool {
    |digest| shared.directory.by_digest(digest).is_ok_and(|found| found.is_some())
}

/// Completes at this moment; without one never.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// All rows of this gateway, in parts; an empty set is one empty part.
async fn send_all(shared: &Arc<Shared>, connection: &Connection, rows: Vec<PublishedRow>) -> Result<(), PublishError> {
    let keys = &shared.keys;
    let parts = rows.len().div_ceil(ROWS_PER_PART).max(1);
    let mut rows = rows.into_iter();
    let mut left_out = LeftOut::default();
    for part in 0..parts {
        let rows: Vec<_> = rows.by_ref().take(ROWS_PER_PART).collect();
        let signature = sign(keys, &rows);
        let request = ToController::Rows { first: part == 0, last: part + 1 == parts, rows, signature };
        match ask(connection, &request).await? {
            FromController::Done => {}
            FromController::Without(some) => left_out = some,
            FromController::Refused => return Err(PublishError::Refused),
            FromController::Storage => return Err(PublishError::Storage),
        }
    }
    let news = shared.link.left_out().whole(left_out, is_ours(shared), Instant::now());
    audit::tell_left_out(shared, news);
    Ok(())
}

async fn ask(connection: &Connection, request: &ToController) -> Result<FromController, PublishError> {
    let exchange = async {
        let (mut send, mut recv) = connection.open_bi().await?;
        write_frame(&mut send, request).await?;
        // Fails only when the controller has stopped the stream, which the answer tells.
        let _ = send.finish();
        Ok(read_frame(&mut recv).await?)
    };
    tokio::time::timeout(ANSWER_WITHIN, exchange).await.unwrap_or(Err(PublishError::Slow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_kept_for_a_link_that_is_down() {
        let outbox = Outbox::default();
        assert!(outbox.put(Change::Addresses(Vec::new())).await.is_err());
        outbox.open();
        let waiting = outbox.put(Change::Addresses(Vec::new()));
        outbox.shut();
        assert!(waiting.await.is_err());
        assert!(outbox.next().await.is_none());
    }

    #[tokio::test]
    async fn changes_come_out_in_order() {
        let outbox = Outbox::default();
        outbox.open();
        let digests = [LoginDigest::new([1; 32]), LoginDigest::new([2; 32])];
        for digest in digests {
            outbox.put(Change::Withdraw(digest));
        }
        for digest in digests {
            let item = outbox.next().await.unwrap();
            assert!(matches!(item.change, Change::Withdraw(found) if found == digest));
        }
    }
}
