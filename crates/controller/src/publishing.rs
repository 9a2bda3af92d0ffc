//! What a gateway publishes over its link: its rows, all at once or one by one (C1).
//!
//! The machine says which rows may stand: those that collide with another gateway's (C13), or that are beyond the gateway's
//! share, are left out, and the gateway is told so. All others are in force: one bad row must not shut out everybody behind
//! that gateway, and one gateway must not take the room of the others.

use crate::knocks::Executor;
use crate::rows::RowsError;
use std::collections::HashSet;
use vestibule_proto::id::{GatewayId, LoginDigest};
use vestibule_proto::key::Spki;
use vestibule_proto::link::{
    FromController, LeftOut, PublishedRow, ROWS_PER_PART, RowRefusal, ToController, rows_digest,
};
use vestibule_proto::recognition::{Owner, Row, RowConflict};

/// The full set of a gateway's rows, as far as its parts have come.
#[derive(Default)]
pub(crate) struct Publishing(Option<Set>);

struct Set {
    rows: Vec<PublishedRow>,
    /// What is beyond the gateway's share is not even kept.
    beyond: LeftOut,
}

/// Carries out what a gateway publishes. `spki` is the key that its requests bear.
pub(crate) async fn publish(
    executor: &Executor,
    gateway: GatewayId,
    spki: &mut Spki,
    request: ToController,
    publishing: &mut Publishing,
) -> FromController {
    let known = *spki;
    let signed = |rows: &[PublishedRow], signature: &[u8; 64]| known.verify(&rows_digest(&gateway, rows), signature);
    match request {
        ToController::Rows { first, last, rows, signature } => {
            if rows.len() > ROWS_PER_PART || !signed(&rows, &signature) {
                return FromController::Refused;
            }
            match publishing.gather(executor.shared.settings.rows_per_gateway, first, last, rows) {
                Gathered::Nothing => FromController::Refused,
                Gathered::Part => FromController::Done,
                Gathered::All(set) => replace(executor, gateway, set).await,
            }
        }
        ToController::Publish { row, signature } => {
            if !signed(std::slice::from_ref(&row), &signature) {
                return FromController::Refused;
            }
            upsert(executor, gateway, row).await
        }
        ToController::Withdraw { digest } => {
            if let Err(error) = executor.shared.rows.withdraw(gateway, digest).await {
                tracing::error!(%error, "a row can't be withdrawn on disk");
                return FromController::Storage;
            }
            executor.shared.recognition().withdraw_row(gateway, &digest);
            FromController::Done
        }
        ToController::Addresses { addresses } => {
            executor.shared.links.set_addresses(&gateway, addresses);
            FromController::Done
        }
        ToController::HandOver(told) => {
            if !told.is_signed(&gateway, &known) {
                return FromController::Refused;
            }
            let answer = hand_over(executor, gateway, known, told.spki).await;
            if answer == FromController::Done {
                *spki = told.spki;
            }
            answer
        }
    }
}

/// On the disk when it is answered: from then on the former key links nobody and signs nothing.
async fn hand_over(executor: &Executor, gateway: GatewayId, from: Spki, to: Spki) -> FromController {
    match executor.shared.rows.hand_over(gateway, from, to).await {
        Ok(true) => {
            tracing::info!(%gateway, "a gateway has another key");
            FromController::Done
        }
        Ok(false) => FromController::Refused,
        Err(error) => {
            tracing::error!(%gateway, %error, "a gateway's new key can't be written down");
            FromController::Storage
        }
    }
}

enum Gathered {
    /// It belongs to no set.
    Nothing,
    Part,
    All(Set),
}

impl Publishing {
    fn gather(&mut self, share: usize, first: bool, last: bool, rows: Vec<PublishedRow>) -> Gathered {
        if first {
            self.0 = Some(Set { rows: Vec::new(), beyond: LeftOut::none(share) });
        }
        let Some(set) = &mut self.0 else { return Gathered::Nothing };
        for row in rows {
            if set.rows.len() < share {
                set.rows.push(row);
            } else {
                set.beyond.add(row.digest, RowRefusal::Share);
            }
        }
        match self.0.take_if(|_| last) {
            Some(set) => Gathered::All(set),
            None => Gathered::Part,
        }
    }
}

/// The machine first: only what it takes is written down.
async fn replace(executor: &Executor, gateway: GatewayId, set: Set) -> FromController {
    let Set { rows, beyond: mut left_out } = set;
    let mut rows: Vec<Row> = rows.into_iter().map(|row| device_row(gateway, row)).collect();
    let conflicts = executor.shared.recognition().replace_rows(gateway, rows.clone());
    let refused: HashSet<LoginDigest> = conflicts.iter().map(|(digest, _)| *digest).collect();
    rows.retain(|row| !refused.contains(&row.digest));
    conflicts.iter().for_each(|(digest, conflict)| left_out.add(*digest, refusal(conflict)));
    match executor.shared.rows.replace(gateway, rows).await {
        Ok(collided) => {
            for digest in collided {
                executor.shared.recognition().withdraw_row(gateway, &digest);
                left_out.add(digest, RowRefusal::Collision);
            }
        }
        Err(error) => return not_written(executor, gateway, &error),
    }
    executor.shared.links.set_left_out(&gateway, left_out.len());
    answer(gateway, left_out)
}

async fn upsert(executor: &Executor, gateway: GatewayId, row: PublishedRow) -> FromController {
    let (row, mut left_out) = (device_row(gateway, row), LeftOut::none(executor.shared.settings.rows_per_gateway));
    let digest = row.digest;
    let taken = executor.shared.recognition().upsert_row(row.clone());
    if let Err(conflict) = taken {
        left_out.add(digest, refusal(&conflict));
        return answer(gateway, left_out);
    }
    match executor.shared.rows.publish(gateway, row).await {
        Ok(()) => FromController::Done,
        // Another gateway's row that the machine has let go of is still on disk: in a moment it may be taken.
        Err(RowsError::Conflict(_)) => {
            executor.shared.recognition().withdraw_row(gateway, &digest);
            left_out.add(digest, RowRefusal::Collision);
            answer(gateway, left_out)
        }
        Err(error) => not_written(executor, gateway, &error),
    }
}

fn answer(gateway: GatewayId, left_out: LeftOut) -> FromController {
    let Some((digest, why)) = left_out.rows.first() else { return FromController::Done };
    tracing::warn!(
        %gateway, rows = left_out.len(), share = left_out.share, first = %digest, ?why,
        "rows of a gateway are left out: they collide with another gateway's, or exceed its share (rows_per_gateway)"
    );
    FromController::Without(left_out)
}

fn refusal(conflict: &RowConflict) -> RowRefusal {
    match conflict {
        RowConflict::Digest(_) | RowConflict::DeviceKey(_) => RowRefusal::Collision,
        RowConflict::Share => RowRefusal::Share,
        RowConflict::Full => RowRefusal::Full,
    }
}

/// Answers for rows that are in the machine already and could not be written down. Those of a gateway that was removed at
/// that moment are taken back; the others hold until the next start.
fn not_written(executor: &Executor, gateway: GatewayId, error: &RowsError) -> FromController {
    if *error == RowsError::UnknownGateway(gateway) {
        tracing::warn!(%gateway, "a gateway that was removed publishes: refused");
        executor.step(0, |recognition| {
            recognition.replace_rows(gateway, Vec::new());
        });
        return FromController::Refused;
    }
    tracing::error!(%gateway, %error, "published rows can't be written down; they hold until the next start");
    FromController::Storage
}

fn device_row(gateway: GatewayId, row: PublishedRow) -> Row {
    Row {
        digest: row.digest,
        device_key: row.device_key,
        psk_c: row.psk_c,
        owner: Owner::Gateway(gateway),
        temporary_until: None,
        last: Default::default(),
    }
}
