//! Waiting, always with a limit.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{Failure, Result};

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Asks `probe` again and again until it gives a value, for `within` at most. Returns that value.
///
/// # Errors
/// The limit has passed (the text names `what`), or the probe itself failed.
pub fn until<T>(within: Duration, what: &str, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if start.elapsed() >= within {
            return Err(Failure::new(format!("waited {within:?} in vain for {what}")));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Watches for the whole of `during` that `holds` stays true.
///
/// # Errors
/// It did not hold at some moment (the text names `what`), or the probe itself failed.
pub fn while_holds(during: Duration, what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < during {
        if !holds()? {
            return Err(Failure::new(format!("after {:?} it no longer held that {what}", start.elapsed())));
        }
        thread::sleep(LONGEST_PAUSE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_value_as_soon_as_it_is_there() {
        let mut asked = 0;
        let value = until(Duration::from_secs(5), "three questions", || {
            asked += 1;
            Ok((asked == 3).then_some(asked))
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn names_what_it_waited_for_in_vain() {
        let outcome = until(Duration::from_millis(10), "the moon", || Ok(None::<()>));
        assert!(outcome.unwrap_err().to_string().contains("the moon"));
    }

    #[test]
    fn watching_ends_at_the_first_breach() {
        let mut asked = 0;
        let outcome = while_holds(Duration::from_secs(5), "fewer than two", || {
            asked += 1;
            Ok(asked < 2)
        });
        assert!(outcome.is_err());
        assert!(while_holds(Duration::from_millis(5), "nothing", || Ok(true)).is_ok());
    }
}
