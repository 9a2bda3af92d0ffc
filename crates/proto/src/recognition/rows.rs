//! The controller's rows: digest → device key, shared key, gateways (C13: each digest and each device key one owner's).

use super::freshness::{Freshness, Rate};
use crate::id::{GatewayId, LoginDigest, Stamp};
use crate::key::{Psk, PublicKey};
use std::collections::{BTreeSet, HashMap};

/// A row as it is stored and published: all that the controller knows of a device, an invitation or a gateway.
#[derive(Clone)]
pub struct Row {
    /// The login digest A2, which selects the row.
    pub digest: LoginDigest,
    /// D_out's public half: only its holder knocks under this digest.
    pub device_key: PublicKey,
    /// Shared with the device; without it a K6 is unreadable.
    pub psk_c: Psk,
    /// Whose knocks these are.
    pub owner: Owner,
    /// After this moment the row is no row. For the first link of a gateway.
    pub temporary_until: Option<Stamp>,
    /// The newest stamp accepted so far, as read from disk; zero for a new row.
    pub last: Stamp,
}

/// Whose knocks a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A device of this gateway: its knocks are put before the gateway. Several gateways of a cluster may each publish
    /// the same row; it then belongs to all of them.
    Gateway(GatewayId),
    /// This gateway itself: its knocks open the controller's own door.
    Link(GatewayId),
}

/// Why a row is not taken; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowConflict {
    /// The digest is another owner's, or the same with other keys.
    #[error("login digest {0} belongs to another row")]
    Digest(LoginDigest),
    /// The device key is in a row of another owner, under this digest: with a copied D_out two devices would be confused.
    #[error("the device key already stands in the row of login digest {0}")]
    DeviceKey(LoginDigest),
    /// The table is full.
    #[error("there is no room for another row")]
    Full,
    /// The gateway has published as many rows as one gateway may.
    #[error("the gateway has used up its share of the rows")]
    Share,
}

/// Whose a row is, several gateways of a cluster gathered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owners {
    Gateways(Vec<GatewayId>),
    Link(GatewayId),
}

/// A row in force.
pub(super) struct LiveRow {
    pub(super) device_key: PublicKey,
    pub(super) psk_c: Psk,
    pub(super) owners: Owners,
    pub(super) temporary_until: Option<Stamp>,
    pub(super) freshness: Freshness,
    pub(super) rate: Rate,
    /// `last` moved since it was written down.
    dirty: bool,
}

/// All rows in force. Gateways publish at most `limit` together, and `share` each, so that none can take the others' room.
pub(super) struct Rows {
    limit: usize,
    share: usize,
    /// How many rows each gateway serves.
    served: HashMap<GatewayId, usize>,
    by_digest: HashMap<LoginDigest, LiveRow>,
    /// The digests under which a device key stands: one, or for a while two of the same owner, when a digest changes.
    by_device_key: HashMap<PublicKey, Vec<LoginDigest>>,
    temporary: BTreeSet<(Stamp, LoginDigest)>,
    dirty: Vec<LoginDigest>,
}

impl Rows {
    pub(super) fn with_limits(limit: usize, share: usize) -> Self {
        Self {
            limit,
            share,
            served: HashMap::new(),
            by_digest: HashMap::new(),
            by_device_key: HashMap::new(),
            temporary: BTreeSet::new(),
            dirty: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_digest.len()
    }

    pub(super) fn get_mut(&mut self, digest: &LoginDigest) -> Option<&mut LiveRow> {
        self.by_digest.get_mut(digest)
    }

    pub(super) fn get(&self, digest: &LoginDigest) -> Option<&LiveRow> {
        self.by_digest.get(digest)
    }

    /// Adds or renews a row. What the controller remembers of its knocks stays.
    pub(super) fn upsert(&mut self, row: Row) -> Result<(), RowConflict> {
        self.check_owner(&row)?;
        if let Owner::Gateway(gateway) = row.owner {
            let old = self.by_digest.get(&row.digest);
            if old.is_none() && self.len() >= self.limit {
                return Err(RowConflict::Full);
            }
            if old.is_none_or(|old| !old.owners.serve(gateway)) && self.served_by(gateway) >= self.share {
                return Err(RowConflict::Share);
            }
        }
        self.put(row);
        Ok(())
    }

    /// All rows of `gateway` become these, but for those that are returned: they conflict with another owner's, or there is
    /// no room for them. Of too many the first ones stand.
    pub(super) fn replace(&mut self, gateway: GatewayId, rows: Vec<Row>) -> Vec<(LoginDigest, RowConflict)> {
        let foreign = self.by_digest.values().filter(|row| !row.owners.is_only(gateway)).count();
        let mut choice = Choice { keys: HashMap::new(), free: self.limit.saturating_sub(foreign) };
        let (mut taken, mut left_out) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            match self.choose(gateway, &row, &mut choice) {
                Ok(()) => taken.push(row),
                Err(conflict) => left_out.push((row.digest, conflict)),
            }
        }
        let served = self.by_digest.iter().filter(|(_, row)| row.owners.serve(gateway)).map(|(digest, _)| *digest);
        let gone: Vec<_> = served.filter(|digest| !choice.keys.contains_key(digest)).collect();
        for digest in gone {
            self.withdraw(gateway, &digest);
        }
        taken.into_iter().for_each(|row| self.put(row));
        left_out
    }

    /// Removes a row, whosever it is.
    pub(super) fn remove(&mut self, digest: &LoginDigest) -> bool {
        let Some(row) = self.by_digest.remove(digest) else { return false };
        if let Owners::Gateways(gateways) = &row.owners {
            gateways.iter().for_each(|gateway| count_down(&mut self.served, gateway));
        }
        self.forget_device_key(&row.device_key, digest);
        if let Some(until) = row.temporary_until {
            self.temporary.remove(&(until, *digest));
        }
        true
    }

    /// `gateway` no longer serves the digest; the row goes with the last gateway that does.
    pub(super) fn withdraw(&mut self, gateway: GatewayId, digest: &LoginDigest) -> bool {
        let Some(row) = self.by_digest.get_mut(digest) else { return false };
        let Owners::Gateways(gateways) = &mut row.owners else { return false };
        let before = gateways.len();
        gateways.retain(|other| *other != gateway);
        let (left, withdrawn) = (gateways.len(), gateways.len() < before);
        if withdrawn {
            count_down(&mut self.served, &gateway);
        }
        if left == 0 {
            self.remove(digest);
        }
        withdrawn
    }

    /// Notes that `last` of this row moved.
    pub(super) fn mark_dirty(&mut self, digest: &LoginDigest) {
        if let Some(row) = self.by_digest.get_mut(digest)
            && !std::mem::replace(&mut row.dirty, true)
        {
            self.dirty.push(*digest);
        }
    }

    /// The rows whose `last` moved since the last call.
    pub(super) fn take_dirty(&mut self) -> Vec<(LoginDigest, Stamp)> {
        let digests = std::mem::take(&mut self.dirty);
        digests.into_iter().filter_map(|digest| self.clean(digest)).collect()
    }

    fn clean(&mut self, digest: LoginDigest) -> Option<(LoginDigest, Stamp)> {
        let row = self.by_digest.get_mut(&digest)?;
        std::mem::take(&mut row.dirty).then(|| (digest, row.freshness.last()))
    }

    /// When the next temporary row ends.
    pub(super) fn next_end(&self) -> Option<Stamp> {
        self.temporary.first().map(|(until, _)| *until)
    }

    /// Removes the temporary rows that have ended.
    pub(super) fn end_temporary(&mut self, time: Stamp) {
        while let Some((until, digest)) = self.temporary.first().copied()
            && until <= time
        {
            self.temporary.remove(&(until, digest));
            self.remove(&digest);
        }
    }

    /// Whether `row` may be among those that replace the rows of `gateway`; if so it is noted in `choice`.
    fn choose(&self, gateway: GatewayId, row: &Row, choice: &mut Choice) -> Result<(), RowConflict> {
        if let Some(device_key) = choice.keys.get(&row.digest) {
            return if *device_key == row.device_key { Ok(()) } else { Err(RowConflict::Digest(row.digest)) };
        }
        self.check_owner(row)?;
        if choice.keys.len() >= self.share {
            return Err(RowConflict::Share);
        }
        // A row that others serve too has its room already.
        if self.by_digest.get(&row.digest).is_none_or(|old| old.owners.is_only(gateway)) {
            choice.free = choice.free.checked_sub(1).ok_or(RowConflict::Full)?;
        }
        choice.keys.insert(row.digest, row.device_key);
        Ok(())
    }

    /// Whether digest and device key of `row` are free or its owner's.
    fn check_owner(&self, row: &Row) -> Result<(), RowConflict> {
        if let Some(old) = self.by_digest.get(&row.digest) {
            old.accepts(row)?;
        }
        let holders = self.by_device_key.get(&row.device_key).map_or(&[][..], Vec::as_slice);
        for digest in holders.iter().filter(|digest| **digest != row.digest) {
            let shared = self.by_digest.get(digest).is_none_or(|holder| holder.owners.include(row.owner));
            if !shared {
                return Err(RowConflict::DeviceKey(*digest));
            }
        }
        Ok(())
    }

    fn served_by(&self, gateway: GatewayId) -> usize {
        self.served.get(&gateway).copied().unwrap_or_default()
    }

    /// Puts a row that was checked in force.
    fn put(&mut self, row: Row) {
        let digest = row.digest;
        let old = self.by_digest.remove(&digest);
        if let Owner::Gateway(gateway) = row.owner
            && old.as_ref().is_none_or(|old| !old.owners.serve(gateway))
        {
            *self.served.entry(gateway).or_default() += 1;
        }
        if let Some(old) = &old {
            self.forget_device_key(&old.device_key, &digest);
            old.temporary_until.map(|until| self.temporary.remove(&(until, digest)));
        }
        self.by_device_key.entry(row.device_key).or_default().push(digest);
        row.temporary_until.map(|until| self.temporary.insert((until, digest)));
        self.by_digest.insert(digest, LiveRow::renewed(row, old));
    }

    fn forget_device_key(&mut self, device_key: &PublicKey, digest: &LoginDigest) {
        if let Some(digests) = self.by_device_key.get_mut(device_key) {
            digests.retain(|other| other != digest);
            if digests.is_empty() {
                self.by_device_key.remove(device_key);
            }
        }
    }
}

/// Rows chosen so far to replace a gateway's.
struct Choice {
    keys: HashMap<LoginDigest, PublicKey>,
    /// How many more fit into the table.
    free: usize,
}

fn count_down(served: &mut HashMap<GatewayId, usize>, gateway: &GatewayId) {
    if let Some(count) = served.get_mut(gateway) {
        *count -= 1;
        if *count == 0 {
            served.remove(gateway);
        }
    }
}

impl LiveRow {
    /// Whether `row` is this row renewed, or published by one more gateway of its cluster: that one knows psk_c, which
    /// only the device, the controller and the cluster do.
    fn accepts(&self, row: &Row) -> Result<(), RowConflict> {
        let same_kind = match (&self.owners, row.owner) {
            (Owners::Gateways(_), Owner::Gateway(_)) => true,
            (Owners::Link(old), Owner::Link(new)) => *old == new,
            (Owners::Gateways(_), Owner::Link(_)) | (Owners::Link(_), Owner::Gateway(_)) => false,
        };
        let same_keys = self.device_key == row.device_key && self.psk_c == row.psk_c;
        let own = self.owners.are_only(row.owner);
        if same_kind && (own || same_keys) { Ok(()) } else { Err(RowConflict::Digest(row.digest)) }
    }

    fn renewed(row: Row, old: Option<Self>) -> Self {
        let mut live = Self {
            device_key: row.device_key,
            psk_c: row.psk_c,
            owners: Owners::of(row.owner),
            temporary_until: row.temporary_until,
            freshness: Freshness::since(row.last),
            rate: Rate::default(),
            dirty: false,
        };
        if let Some(old) = old {
            live.owners = old.owners.with(row.owner);
            (live.freshness, live.rate, live.dirty) = (old.freshness, old.rate, old.dirty);
            live.freshness.restore(row.last);
        }
        live
    }
}

impl Owners {
    fn of(owner: Owner) -> Self {
        match owner {
            Owner::Gateway(gateway) => Self::Gateways(vec![gateway]),
            Owner::Link(gateway) => Self::Link(gateway),
        }
    }

    fn with(mut self, owner: Owner) -> Self {
        if let (Self::Gateways(gateways), Owner::Gateway(gateway)) = (&mut self, owner)
            && !gateways.contains(&gateway)
        {
            gateways.push(gateway);
        }
        self
    }

    fn include(&self, owner: Owner) -> bool {
        match (self, owner) {
            (Self::Gateways(gateways), Owner::Gateway(gateway)) => gateways.contains(&gateway),
            (Self::Link(link), Owner::Link(gateway)) => *link == gateway,
            (Self::Gateways(_), Owner::Link(_)) | (Self::Link(_), Owner::Gateway(_)) => false,
        }
    }

    fn are_only(&self, owner: Owner) -> bool {
        self.include(owner) && !matches!(self, Self::Gateways(gateways) if gateways.len() > 1)
    }

    fn serve(&self, gateway: GatewayId) -> bool {
        self.include(Owner::Gateway(gateway))
    }

    fn is_only(&self, gateway: GatewayId) -> bool {
        self.are_only(Owner::Gateway(gateway))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const ONE: GatewayId = GatewayId::new([1; 16]);
    const OTHER: GatewayId = GatewayId::new([2; 16]);

    fn row(digest: u8, key: u8, owner: Owner) -> Row {
        Row {
            digest: LoginDigest::new([digest; 32]),
            device_key: PublicKey::new([key; 32]),
            psk_c: Psk::new([key; 32]),
            owner,
            temporary_until: None,
            last: Stamp::default(),
        }
    }

    fn rows_at_most(limit: usize) -> Rows {
        Rows::with_limits(limit, limit)
    }

    fn digest(number: u8) -> LoginDigest {
        LoginDigest::new([number; 32])
    }

    fn known(rows: &Rows) -> Vec<u8> {
        let mut known: Vec<_> = rows.by_digest.keys().map(|digest| digest.as_bytes()[0]).collect();
        known.sort_unstable();
        known
    }

    #[test]
    fn a_digest_belongs_to_one_owner() {
        let mut rows = rows_at_most(10);
        rows.upsert(row(1, 1, Owner::Gateway(ONE))).unwrap();
        assert_eq!(rows.upsert(row(1, 2, Owner::Gateway(OTHER))), Err(RowConflict::Digest(digest(1))));
        assert_eq!(rows.upsert(row(1, 1, Owner::Link(ONE))), Err(RowConflict::Digest(digest(1))));
        rows.upsert(row(1, 2, Owner::Gateway(ONE))).unwrap();
        assert_eq!(rows.get(&digest(1)).unwrap().device_key, PublicKey::new([2; 32]));
    }

    #[test]
    fn a_device_key_belongs_to_one_owner_who_may_renew_its_digest() {
        let mut rows = rows_at_most(10);
        rows.upsert(row(1, 1, Owner::Gateway(ONE))).unwrap();
        for owner in [Owner::Gateway(OTHER), Owner::Link(ONE), Owner::Link(OTHER)] {
            assert_eq!(rows.upsert(row(2, 1, owner)), Err(RowConflict::DeviceKey(digest(1))));
        }
        rows.upsert(row(2, 1, Owner::Gateway(ONE))).unwrap();
        assert!(rows.withdraw(ONE, &digest(1)));
        assert!(rows.withdraw(ONE, &digest(2)));
        rows.upsert(row(3, 1, Owner::Gateway(OTHER))).unwrap();
    }

    #[test]
    fn a_cluster_shares_a_row_until_the_last_withdraws_it() {
        let mut rows = rows_at_most(10);
        rows.upsert(row(1, 1, Owner::Gateway(ONE))).unwrap();
        rows.upsert(row(1, 1, Owner::Gateway(OTHER))).unwrap();
        assert_eq!(rows.get(&digest(1)).unwrap().owners, Owners::Gateways(vec![ONE, OTHER]));
        assert_eq!(
            rows.upsert(row(1, 2, Owner::Gateway(ONE))),
            Err(RowConflict::Digest(digest(1))),
            "not its own alone"
        );
        assert!(rows.withdraw(ONE, &digest(1)));
        assert!(!rows.withdraw(ONE, &digest(1)));
        assert!(rows.withdraw(OTHER, &digest(1)));
        assert_eq!(rows.len(), 0);
    }

    #[test]
    fn nobody_withdraws_anothers_row() {
        let mut rows = rows_at_most(10);
        rows.upsert(row(1, 1, Owner::Gateway(ONE))).unwrap();
        rows.upsert(row(2, 2, Owner::Link(ONE))).unwrap();
        assert!(!rows.withdraw(OTHER, &digest(1)));
        assert!(!rows.withdraw(ONE, &digest(2)), "a gateway does not remove its own way in by a publication");
        assert_eq!(known(&rows), [1, 2]);
    }

    fn owned(numbers: &[(u8, u8)]) -> Vec<Row> {
        numbers.iter().map(|n| row(n.0, n.1, Owner::Gateway(ONE))).collect()
    }

    /// Else whoever publishes one row that collides would shut out everybody behind the gateway that has the other.
    #[test]
    fn of_a_replacement_only_the_rows_that_conflict_are_left_out() {
        let mut rows = rows_at_most(4);
        for (number, owner) in [(1, ONE), (2, ONE), (3, OTHER)] {
            rows.upsert(row(number, number, Owner::Gateway(owner))).unwrap();
        }
        rows.upsert(row(9, 9, Owner::Link(ONE))).unwrap();
        let left_out = rows.replace(ONE, owned(&[(5, 3), (3, 4), (4, 4), (4, 5), (2, 2), (9, 9)]));
        let expected = [
            (5, RowConflict::DeviceKey(digest(3))),
            (3, RowConflict::Digest(digest(3))),
            (4, RowConflict::Digest(digest(4))),
            (9, RowConflict::Digest(digest(9))),
        ];
        assert_eq!(left_out, expected.map(|(number, conflict)| (digest(number), conflict)));
        assert_eq!(known(&rows), [2, 3, 4, 9]);
        assert_eq!(rows.get(&digest(3)).unwrap().owners, Owners::Gateways(vec![OTHER]));
        assert_eq!(rows.replace(ONE, owned(&[(4, 4), (5, 5), (6, 6)])), [(digest(6), RowConflict::Full)]);
        assert_eq!(known(&rows), [3, 4, 5, 9]);
        assert!(rows.replace(ONE, Vec::new()).is_empty());
        assert_eq!(known(&rows), [3, 9]);
        assert_eq!((rows.by_device_key.len(), rows.served.len()), (2, 1));
    }

    #[test]
    fn no_gateway_takes_more_than_its_share() {
        let mut rows = Rows::with_limits(10, 2);
        assert_eq!(rows.replace(ONE, owned(&[(1, 1), (2, 2), (3, 3)])), [(digest(3), RowConflict::Share)]);
        assert_eq!(rows.upsert(row(4, 4, Owner::Gateway(ONE))), Err(RowConflict::Share));
        rows.upsert(row(2, 2, Owner::Gateway(ONE))).unwrap();
        rows.upsert(row(5, 5, Owner::Link(ONE))).unwrap();
        // What it shares with the others of its cluster counts for each.
        rows.upsert(row(2, 2, Owner::Gateway(OTHER))).unwrap();
        rows.upsert(row(6, 6, Owner::Gateway(OTHER))).unwrap();
        assert_eq!(rows.upsert(row(1, 1, Owner::Gateway(OTHER))), Err(RowConflict::Share));
        assert!(rows.withdraw(ONE, &digest(2)));
        rows.upsert(row(4, 4, Owner::Gateway(ONE))).unwrap();
        assert!(rows.remove(&digest(4)));
        rows.upsert(row(3, 3, Owner::Gateway(ONE))).unwrap();
        assert_eq!((rows.served_by(ONE), rows.served_by(OTHER)), (2, 2));
    }

    #[test]
    fn a_row_that_others_serve_too_needs_no_further_room() {
        let mut rows = Rows::with_limits(2, 10);
        rows.upsert(row(1, 1, Owner::Gateway(OTHER))).unwrap();
        rows.upsert(row(2, 2, Owner::Gateway(OTHER))).unwrap();
        assert_eq!(rows.replace(ONE, owned(&[(1, 1), (2, 2), (3, 3)])), [(digest(3), RowConflict::Full)]);
        assert_eq!(rows.served_by(ONE), 2);
    }

    #[test]
    fn a_renewed_row_keeps_what_was_accepted() {
        let mut rows = rows_at_most(10);
        rows.upsert(row(1, 1, Owner::Gateway(ONE))).unwrap();
        let stamp = Stamp::from_millis(1_800_000_000_000);
        rows.get_mut(&digest(1)).unwrap().freshness.restore(stamp);
        rows.mark_dirty(&digest(1));
        rows.mark_dirty(&digest(1));
        assert!(rows.replace(ONE, vec![row(1, 1, Owner::Gateway(ONE))]).is_empty());
        assert_eq!(rows.take_dirty(), [(digest(1), stamp)]);
        assert_eq!(rows.take_dirty(), []);
    }

    #[test]
    fn a_temporary_row_ends() {
        let (mut rows, end) = (rows_at_most(10), Stamp::from_millis(1_000));
        let temporary = Row { temporary_until: Some(end), ..row(1, 1, Owner::Link(ONE)) };
        rows.upsert(temporary.clone()).unwrap();
        assert_eq!(rows.next_end(), Some(end));
        rows.end_temporary(Stamp::from_millis(999));
        assert_eq!(known(&rows), [1]);
        rows.upsert(row(1, 1, Owner::Link(ONE))).unwrap();
        rows.end_temporary(end.saturating_add(Duration::from_secs(1)));
        assert_eq!(known(&rows), [1], "it was made permanent");
        rows.upsert(temporary).unwrap();
        rows.end_temporary(end);
        assert_eq!((rows.len(), rows.by_device_key.len(), rows.next_end()), (0, 0, None));
    }

    #[test]
    fn there_is_a_limit() {
        let mut rows = rows_at_most(1);
        rows.upsert(row(1, 1, Owner::Gateway(ONE))).unwrap();
        assert_eq!(rows.upsert(row(2, 2, Owner::Gateway(ONE))), Err(RowConflict::Full));
        rows.upsert(row(1, 3, Owner::Gateway(ONE))).unwrap();
        rows.upsert(row(2, 2, Owner::Link(ONE))).unwrap();
    }
}
