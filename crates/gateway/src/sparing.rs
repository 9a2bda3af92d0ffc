//! Saying the same thing seldom: at once when it changes, then at ever longer intervals.

use std::time::{Duration, Instant};

/// How long to be silent after something was said for the first time; each repetition doubles it.
const FIRST: Duration = Duration::from_secs(60);
/// Never silent for longer.
const LONGEST: Duration = Duration::from_secs(3_600);

/// What was said last, and when it may be said again.
#[derive(Debug, Default)]
pub(crate) struct Sparing {
    said: Option<Said>,
}

#[derive(Debug)]
struct Said {
    text: String,
    pause: Duration,
    again: Instant,
}

impl Sparing {
    /// Whether to say `text` at `now`.
    pub(crate) fn is_due(&mut self, text: &str, now: Instant) -> bool {
        let pause = match &self.said {
            Some(said) if said.text == text => {
                if now < said.again {
                    return false;
                }
                said.pause.saturating_mul(2).min(LONGEST)
            }
            Some(_) | None => FIRST,
        };
        self.said = Some(Said { text: text.to_owned(), pause, again: now + pause });
        true
    }

    /// What was said is over: the next time it is new.
    pub(crate) fn forget(&mut self) {
        self.said = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_ever_more_seldom_and_a_change_at_once() {
        let (mut sparing, start) = (Sparing::default(), Instant::now());
        let mut said = Vec::new();
        for second in (0..6 * 3_600).step_by(11) {
            if sparing.is_due("away", start + Duration::from_secs(second)) {
                said.push(second);
            }
        }
        let pauses: Vec<_> = said.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(pauses.len(), 10, "{pauses:?}");
        assert!(pauses.iter().zip([60, 120, 240, 480, 960, 1_920, 3_600]).all(|(pause, least)| *pause >= least));
        let now = start + Duration::from_secs(6 * 3_600);
        assert!(sparing.is_due("refused", now) && !sparing.is_due("refused", now));
        assert!(sparing.is_due("away", now));
        sparing.forget();
        assert!(sparing.is_due("away", now));
    }
}
