//! What the controller asks over the link: K3 and K5.

use crate::shared::Shared;
use quinn::{Connection, RecvStream, SendStream};
use std::sync::Arc;
use std::time::Duration;
use vestibule_dark::framed::{FramedError, read_frame_within, write_frame};
use vestibule_proto::link::{Answer, ToGateway};
use vestibule_proto::realm::Realm;

/// The largest request that is read, in bytes.
const REQUEST_LIMIT: usize = 1_024;
/// How long the controller may take to send one.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);

/// Answers requests, each in a stream and a task of its own, until the link breaks.
pub(crate) async fn serve(shared: &Arc<Shared>, link: u64, connection: &Connection) -> quinn::ConnectionError {
    loop {
        match connection.accept_bi().await {
            Ok((send, recv)) => {
                let shared = shared.clone();
                let tasks = shared.tasks.clone();
                tasks.spawn(async move {
                    if let Err(error) = answer(&shared, link, send, recv).await {
                        tracing::debug!(%error, "a request of the controller was not answered");
                    }
                });
            }
            Err(error) => return error,
        }
    }
}

/// The controller has another realm key: on the disk first, then for the next invitation, then for everybody who is connected.
async fn learn(shared: &Arc<Shared>, realm: Realm) -> Answer {
    let (worker, dir, epoch) = (shared.clone(), shared.settings().dir.clone(), realm.epoch);
    let learnt = tokio::task::spawn_blocking(move || worker.keys.learn_realm(&dir, realm)).await;
    match learnt {
        Ok(Ok(false)) => return Answer::Seen,
        Ok(Ok(true)) => {}
        Ok(Err(error)) => {
            tracing::error!(%error, epoch, "the controller's new realm key can't be written down: its next link tells it again");
            return Answer::Away;
        }
        Err(error) => {
            tracing::error!(%error, epoch, "the controller's new realm key was not written down");
            return Answer::Away;
        }
    }
    tracing::info!(epoch, "the controller has a new realm key");
    let realm = shared.keys.realm();
    shared.introduce();
    for session in shared.sessions.all() {
        let realm = realm.clone();
        shared.tasks.spawn(async move { session.tell_realm(realm).await });
    }
    Answer::Seen
}

async fn answer(
    shared: &Arc<Shared>,
    link: u64,
    mut send: SendStream,
    mut recv: RecvStream,
) -> Result<(), FramedError> {
    let reading = read_frame_within(&mut recv, REQUEST_LIMIT);
    let request = tokio::time::timeout(REQUEST_WITHIN, reading).await.unwrap_or(Err(FramedError::Cut))?;
    let answer = match request {
        ToGateway::Admit { request, digest, source, inner, deadline_ms } => {
            let within = Duration::from_millis(deadline_ms.into());
            shared.admission.admit(shared, (link, request), digest, source, &inner, within).await
        }
        ToGateway::Withdraw { request } => {
            shared.admission.withdraw(shared, (link, request)).await;
            Answer::Seen
        }
        ToGateway::Ping => Answer::Seen,
        ToGateway::Realm(realm) => learn(shared, realm).await,
    };
    write_frame(&mut send, &answer).await?;
    // Fails only when the controller no longer wants the answer.
    let _ = send.finish();
    Ok(())
}
