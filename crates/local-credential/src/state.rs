//! The sidecar of a credential: what changes with each knock, so that the credential itself is not rewritten.
//!
//! `NAME.state` beside `NAME`, mode 0600, 51 bytes, numbers big-endian:
//!
//! | bytes | content |
//! |---|---|
//! | 8 | magic `VSTBstat` |
//! | 2 | version (= 2) |
//! | 8 | last stamp: of the latest knock that was acknowledged, 0 if none is known |
//! | 8 | clock offset, signed, milliseconds that the controller's clock is ahead of this machine's; 0 if none is known |
//! | 8 | wall clock at which the offset was learned |
//! | 1 | 1 if the machine's uptime was known then, else 0 |
//! | 8 | that uptime, milliseconds |
//! | 8 | checksum: the head of SHA-256 over what stands before |
//!
//! It holds no secret and losing it is safe: the client stamps a knock with `max(clock + offset, last stamp + 1 ms)`, so without
//! it a client only notices a clock that is wrong or fell back by being told so by the controller, once a minute (PROTOCOL 3.5,
//! silence to recordings, clock wrong).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use vestibule_proto::id::Stamp;

use crate::file::{self, Durability, ReadError, SaveError};

const MAGIC: &[u8; 8] = b"VSTBstat";
const VERSION: u16 = 2;
const LEN: usize = 51;
const CHECKED_LEN: usize = 43;

/// Wall clock and uptime of a machine whose clock nobody sets go on alike, to within this.
const DRIFT: Duration = Duration::from_secs(5);

/// What a device remembers between knocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    /// The stamp of the latest knock that was acknowledged; 0 if none is known.
    pub last_stamp: Stamp,
    /// What a controller has told of this machine's clock, if it is wrong.
    pub correction: Option<Correction>,
}

/// By how much this machine's clock is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correction {
    /// How many milliseconds the controller's clock is ahead of this machine's; not 0.
    pub offset_ms: i64,
    /// When that was learned, by this machine's own clocks.
    pub learned: Moment,
}

/// A reading of this machine's clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock, right or wrong.
    pub wall: Stamp,
    /// How long the machine has been running, where that can be read.
    pub uptime: Option<Duration>,
}

impl Moment {
    /// Whether the wall clock was certainly set between `earlier` and this: it went back, or another way than the uptime. Over
    /// a restart of the machine the uptimes tell nothing.
    fn was_set_since(self, earlier: Self) -> bool {
        let went_on = self.wall.saturating_since(earlier.wall);
        let ran_on = self.uptime.zip(earlier.uptime).and_then(|(later, earlier)| later.checked_sub(earlier));
        self.wall < earlier.wall || ran_on.is_some_and(|ran_on| went_on.abs_diff(ran_on) > DRIFT)
    }
}

impl State {
    /// The state beside the credential at `credential`. A missing or damaged file is a state that knows nothing.
    ///
    /// # Errors
    /// [`ReadError`] if there is a file that others have access to, or that can't be read.
    pub fn load(credential: &Path) -> Result<Self, ReadError> {
        match file::read(&path(credential), LEN as u64) {
            Ok(bytes) => Ok(decode(&bytes).unwrap_or_default()),
            Err(ReadError::Missing | ReadError::TooLarge { .. }) => Ok(Self::default()),
            Err(
                error @ (ReadError::Symlink
                | ReadError::NotAFile
                | ReadError::ForeignOwner { .. }
                | ReadError::TooOpen { .. }
                | ReadError::Io(_)),
            ) => Err(error),
        }
    }

    /// Writes the state beside the credential at `credential`. Atomic, but not waited for: it must not delay a connect, and a
    /// crash of the machine loses at most this file.
    ///
    /// # Errors
    /// See [`SaveError`].
    pub fn save(self, credential: &Path) -> Result<(), SaveError> {
        file::replace(&path(credential), &encode(self), Durability::Relaxed)
    }

    /// By how much the next knock corrects this machine's clock, in milliseconds: 0 if it is right as far as is known, or was set
    /// since.
    #[must_use]
    pub fn offset_ms(self, now: Moment) -> i64 {
        let holds = |correction: &Correction| !now.was_set_since(correction.learned);
        self.correction.filter(holds).map_or(0, |correction| correction.offset_ms)
    }

    /// With an acknowledged stamp, unless a later one is known.
    #[must_use]
    pub fn acknowledged(self, stamp: Stamp) -> Self {
        Self { last_stamp: self.last_stamp.max(stamp), ..self }
    }

    /// With what a knock has found the offset to be; 0 forgets it. An offset that is known already keeps its age: nobody has
    /// measured it anew.
    #[must_use]
    pub fn corrected(self, offset_ms: i64, now: Moment) -> Self {
        let learned = match self.correction {
            Some(known) if self.offset_ms(now) == offset_ms => known.learned,
            Some(_) | None => now,
        };
        Self { correction: (offset_ms != 0).then_some(Correction { offset_ms, learned }), ..self }
    }
}

/// Where the sidecar of the credential at `credential` lies: the same path with `.state` behind it.
#[must_use]
pub fn path(credential: &Path) -> PathBuf {
    let mut name = OsString::from(credential);
    name.push(".state");
    PathBuf::from(name)
}

fn encode(state: State) -> [u8; LEN] {
    let nothing = Correction { offset_ms: 0, learned: Moment { wall: Stamp::default(), uptime: None } };
    let Correction { offset_ms, learned } = state.correction.unwrap_or(nothing);
    let uptime = learned.uptime.map_or(0, |uptime| u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX));
    let mut bytes = Vec::with_capacity(LEN);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&state.last_stamp.as_millis().to_be_bytes());
    bytes.extend_from_slice(&offset_ms.to_be_bytes());
    bytes.extend_from_slice(&learned.wall.as_millis().to_be_bytes());
    bytes.push(learned.uptime.is_some().into());
    bytes.extend_from_slice(&uptime.to_be_bytes());
    bytes.extend_from_slice(&checksum(&bytes));
    let mut whole = [0; LEN];
    whole.copy_from_slice(&bytes);
    whole
}

pub(crate) fn decode(bytes: &[u8]) -> Option<State> {
    let bytes: &[u8; LEN] = bytes.try_into().ok()?;
    let (checked, found) = bytes.split_at(CHECKED_LEN);
    let rest = checked.strip_prefix(MAGIC)?.strip_prefix(&VERSION.to_be_bytes())?;
    if checksum(checked) != found {
        return None;
    }
    let number = |at: usize| Some(u64::from_be_bytes(rest.get(at..at + 8)?.try_into().ok()?));
    let (last_stamp, offset_ms) = (Stamp::from_millis(number(0)?), number(8)?.cast_signed());
    let uptime = Duration::from_millis(number(25)?);
    let uptime = match *rest.get(24)? {
        0 => None,
        1 => Some(uptime),
        _ => return None,
    };
    let learned = Moment { wall: Stamp::from_millis(number(16)?), uptime };
    Some(State { last_stamp, correction: (offset_ms != 0).then_some(Correction { offset_ms, learned }) })
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    let mut head = [0; 8];
    head.copy_from_slice(&Sha256::digest(bytes)[..8]);
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    const HOUR: i64 = 3_600_000;

    fn stamp(millis: u64) -> State {
        State::default().acknowledged(Stamp::from_millis(millis))
    }

    fn moment(wall_secs: u64, uptime_secs: Option<u64>) -> Moment {
        let wall = Stamp::from_millis(wall_secs * 1_000);
        Moment { wall, uptime: uptime_secs.map(Duration::from_secs) }
    }

    fn states() -> Vec<State> {
        let learned = [moment(2_000_000_000, Some(77)), moment(2_000_000_000, None)];
        let mut states = vec![State::default(), stamp(1 << 40), stamp(u64::MAX)];
        states.extend(learned.iter().flat_map(|at| [-HOUR, 1, i64::MAX].map(|off| stamp(9).corrected(off, *at))));
        states
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let credential = directory.path().join("alice.credential");
        assert_eq!(State::load(&credential), Ok(State::default()));
        for state in states() {
            state.save(&credential).unwrap();
            assert_eq!(State::load(&credential), Ok(state));
        }
        let sidecar = directory.path().join("alice.credential.state");
        assert_eq!(fs::metadata(sidecar).unwrap().permissions().mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_stamp_never_goes_back() {
        for (known, said, expected) in [(0, 5, 5), (5, 9, 9), (9, 7, 9)] {
            assert_eq!(stamp(known).acknowledged(Stamp::from_millis(said)), stamp(expected));
        }
    }

    #[test]
    fn an_offset_holds_until_the_clock_is_set() {
        let learned = moment(1_000, Some(100));
        let state = State::default().corrected(-HOUR, learned);
        for same in [learned, moment(1_001, Some(101)), moment(90_004, Some(89_100)), moment(2_000, Some(50))] {
            assert_eq!(state.offset_ms(same), -HOUR, "{same:?}");
        }
        assert_eq!(state.offset_ms(moment(2_000, None)), -HOUR, "no uptime tells otherwise");
        for set in [moment(999, Some(100)), moment(4_600, Some(100)), moment(1_000, Some(106)), moment(900, None)] {
            assert_eq!(state.offset_ms(set), 0, "{set:?}");
        }
        assert_eq!(State::default().offset_ms(learned), 0);
    }

    #[test]
    fn a_knock_replaces_forgets_or_confirms_an_offset() {
        let (first, later) = (moment(1_000, Some(100)), moment(1_060, Some(160)));
        let state = stamp(9).corrected(-HOUR, first);
        assert_eq!(state.corrected(-HOUR, later), state, "it is as old as it was");
        assert_eq!(state.corrected(0, later), stamp(9));
        let replaced = state.corrected(HOUR, later);
        assert_eq!(replaced.correction, Some(Correction { offset_ms: HOUR, learned: later }));
        let set = moment(4_600, Some(101));
        let again = state.corrected(-HOUR, set);
        assert_eq!(
            again.correction.map(|correction| correction.learned),
            Some(set),
            "found once more after it was set"
        );
    }

    #[test]
    fn a_damaged_file_knows_nothing_and_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let credential = directory.path().join("alice.credential");
        stamp(1 << 40).save(&credential).unwrap();
        let whole = fs::read(path(&credential)).unwrap();
        for bit in 0..8 * LEN {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(path(&credential), damaged).unwrap();
            assert_eq!(State::load(&credential), Ok(State::default()), "bit {bit}");
        }
        for length in (0..LEN).chain([LEN + 1]) {
            let mut cut = whole.clone();
            cut.resize(length, 0);
            fs::write(path(&credential), cut).unwrap();
            assert_eq!(State::load(&credential), Ok(State::default()), "length {length}");
        }
        stamp(3).save(&credential).unwrap();
        assert_eq!(State::load(&credential), Ok(stamp(3)));
    }

    #[test]
    fn a_file_that_others_may_write_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let credential = directory.path().join("alice.credential");
        stamp(3).save(&credential).unwrap();
        fs::set_permissions(path(&credential), fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(State::load(&credential), Err(ReadError::TooOpen { mode: 0o666 }));
    }
}
