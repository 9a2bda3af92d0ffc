//! The order in which a datagram is looked at (PROTOCOL 3.5), silent at the first failure.

use super::answering::Addressee;
use super::copies::Seen;
use super::freshness::{FRESHNESS_WINDOW, Present, Verdict};
use super::load::{Arrival, Gate, epoch_named};
use super::rows::{LiveRow, Owners};
use super::{Command, Recognition};
use crate::entropy::Entropy;
use crate::header::{Header, Kind};
use crate::id::{Now, Stamp};
use crate::key::RealmKey;
use crate::outer::{Guidance, OpenedKnock, Status, Versions, mac1_of, open_knock, seal_cookie};
use std::net::SocketAddr;

/// Where the ephemeral key stands in a K1, under which its epoch is masked.
const EPHEMERAL: std::ops::Range<usize> = 48..80;

/// A datagram on its way through the rules.
#[derive(Clone, Copy)]
pub(super) struct Datagram<'a> {
    bytes: &'a [u8],
    /// Whether it is under the realm key before the present one.
    former: bool,
    to: Addressee,
    now: Now,
    time: Stamp,
}

impl Recognition {
    /// Length, type, version, mac1: nothing is allocated, nothing remembered before these.
    pub(super) fn look_at(&mut self, from: SocketAddr, bytes: &[u8], now: Now, entropy: &mut dyn Entropy) {
        self.counters.received += 1;
        let present = self.mac1.check(bytes);
        let former = !present && self.former.as_ref().is_some_and(|(_, mac1)| mac1.check(bytes));
        let Some(mac1) = mac1_of(bytes).filter(|_| present || former) else {
            self.counters.junk += 1;
            return;
        };
        let time = self.read_clock(now);
        if former && self.former.as_ref().is_none_or(|(realm, _)| time >= realm.until) {
            self.counters.junk += 1;
            return;
        }
        self.counters.former_realm += u64::from(former);
        let datagram = Datagram { bytes, former, to: Addressee { from, mac1 }, now, time };
        if !self.is_copy(&datagram) && self.passes_load(&datagram, entropy) {
            self.open(&datagram, entropy);
        }
    }

    /// Copies (C7), before anything is spent on them.
    fn is_copy(&mut self, datagram: &Datagram<'_>) -> bool {
        match self.copies.look_up(&datagram.to.mac1, datagram.bytes, datagram.to.from) {
            Seen::Never => return false,
            Seen::Repeat(answer) => {
                self.counters.copies_answered += 1;
                let again = Command::Reply { to: datagram.to.from, datagram: answer.to_vec() };
                self.commands.push_back(again);
            }
            Seen::Silent => self.counters.copies_silent += 1,
        }
        true
    }

    /// Under load: mac2, or a cookie (K2c).
    fn passes_load(&mut self, datagram: &Datagram<'_>, entropy: &mut dyn Entropy) -> bool {
        let Some(epoch) = self.epoch_named(datagram) else { return false };
        let Datagram { bytes, to, .. } = *datagram;
        let arrival = Arrival { datagram: bytes, mac1: to.mac1, epoch, source: to.from };
        match self.load.gate(arrival, datagram.now.mono, datagram.time, entropy) {
            Gate::Pass => return true,
            Gate::Silent => self.counters.load_silent += 1,
            Gate::Cookie(cookie) => self.give_cookie(datagram, &cookie, entropy),
        }
        false
    }

    fn epoch_named(&self, datagram: &Datagram<'_>) -> Option<u32> {
        let ephemeral = datagram.bytes.get(EPHEMERAL)?.first_chunk()?;
        let header = Header::read(Kind::Knock, datagram.bytes)?;
        Some(epoch_named(self.realm_of(datagram), &header, ephemeral))
    }

    /// The realm key under which it was made.
    fn realm_of(&self, datagram: &Datagram<'_>) -> &RealmKey {
        let former = self.former.as_ref().filter(|_| datagram.former);
        former.map_or(&self.keys.realm, |(former, _)| &former.realm)
    }

    fn give_cookie(&mut self, datagram: &Datagram<'_>, cookie: &[u8; 16], entropy: &mut dyn Entropy) {
        let sealed = seal_cookie(&self.keys.key.public(), self.realm_of(datagram), datagram.bytes, cookie, entropy);
        if let Ok(reply) = sealed {
            self.counters.cookies += 1;
            self.commands.push_back(Command::Reply { to: datagram.to.from, datagram: reply.to_vec() });
        }
    }

    /// Noise, then what only its result can tell.
    fn open(&mut self, datagram: &Datagram<'_>, entropy: &mut dyn Entropy) {
        match open_knock(&self.keys.key, self.realm_of(datagram), datagram.bytes, entropy) {
            Ok(opened) => self.recognise(opened, datagram, entropy),
            Err(_) => {
                self.counters.unreadable += 1;
                self.load.waste(datagram.now.mono);
            }
        }
    }

    /// The row, the version, freshness, the rate; then the gateway, or our own door.
    fn recognise(&mut self, opened: OpenedKnock, datagram: &Datagram<'_>, entropy: &mut dyn Entropy) {
        let (knock, now) = (&opened.knock, datagram.now);
        let Some(row) = self.rows.get_mut(&knock.digest).filter(|row| fits(row, &opened, datagram.time)) else {
            self.counters.unknown += 1;
            self.load.waste(now.mono);
            return;
        };
        if knock.versions.common(Versions::OURS).is_none() {
            self.counters.versions += 1;
            return;
        }
        let is_link = knock.flags.link;
        let present = Present {
            mono: now.mono,
            time: datagram.time,
            challenge_until: if is_link { self.challenge_links_until } else { Stamp::default() },
        };
        let challenged =
            knock.challenge.is_some_and(|echo| self.challenges.proves(&echo, &knock.digest, now.mono, entropy));
        let verdict = row.freshness.judge(knock.stamp, knock.knock_id, challenged, present);
        if verdict == Verdict::Fresh && !row.rate.take(now.mono) {
            // Not remembered: the same knock, sent again when the rate allows it, is as good.
            self.counters.rate += 1;
            self.load.waste(now.mono);
            return;
        }
        self.copies.remember(datagram.to.mac1, datagram.bytes, datagram.to.from, now.mono);
        match verdict {
            Verdict::Fresh => self.accept(opened, datagram, entropy),
            Verdict::OffClock => self.tell_time(opened, datagram, entropy),
            Verdict::Old | Verdict::Seen => self.drop_recording(now),
            Verdict::ToldAlready => self.counters.time_silent += 1,
        }
    }

    fn drop_recording(&mut self, now: Now) {
        self.counters.old += 1;
        self.load.waste(now.mono);
    }

    fn accept(&mut self, opened: OpenedKnock, datagram: &Datagram<'_>, entropy: &mut dyn Entropy) {
        self.counters.accepted += 1;
        let knock = &opened.knock;
        if let Some(row) = self.rows.get_mut(&knock.digest) {
            row.freshness.accept(knock.stamp, knock.knock_id);
        }
        self.rows.mark_dirty(&knock.digest);
        if knock.flags.link {
            self.open_link(opened, datagram.to, entropy, datagram.now, datagram.time);
        } else {
            self.ask(opened, datagram.to, datagram.now, datagram.time);
        }
    }

    fn tell_time(&mut self, opened: OpenedKnock, datagram: &Datagram<'_>, entropy: &mut dyn Entropy) {
        let (knock, now) = (&opened.knock, datagram.now);
        if let Some(row) = self.rows.get_mut(&knock.digest) {
            row.freshness.tell_time(knock.stamp, knock.knock_id, now.mono);
        }
        let challenge = Some(self.challenges.give(&knock.digest, now.mono, entropy));
        let guidance = Guidance { challenge, ..self.guidance(datagram.to, Status::Time, datagram.time) };
        self.reply(opened, datagram.to, &guidance, now);
    }

    pub(super) fn read_clock(&mut self, now: Now) -> Stamp {
        let time = self.clock.read(now);
        self.counters.clock_followed_back = self.clock.followed_back();
        time
    }
}

/// Whether the knock is one of this row: made with its device key, while the row lasts, for what the row is for.
fn fits(row: &LiveRow, opened: &OpenedKnock, time: Stamp) -> bool {
    let is_link = matches!(row.owners, Owners::Link(_));
    let lasts = row.temporary_until.is_none_or(|until| time < until);
    row.device_key == opened.device_key && lasts && is_link == opened.knock.flags.link
}

/// Until then, after a start at `start`, a link's knock needs a challenge (C4): nobody remembers those from before.
pub(super) fn challenge_links_until(start: Stamp) -> Stamp {
    start.saturating_add(FRESHNESS_WINDOW)
}
