//! A day of admissions, connects, moves, ends and revocations in simulated time: the door says what the model says, after each.

#[allow(dead_code, reason = "a part of it is asked of the kernel's sets alone")]
mod model;

use std::time::{Duration, Instant};

use model::Both;
use vestibule_door::SocketDoor;

/// PROTOCOL 3.5, Window.
const WINDOW: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_secs(24 * 3_600);

#[test]
fn a_day_of_the_socket_door_goes_as_the_model_says() {
    for seed in 0..4 {
        let mut both = Both::new(SocketDoor::default(), seed, WINDOW);
        let (begun, mut now, mut events) = (Instant::now(), Instant::now(), 0_u64);
        while now < begun + DAY {
            both.happen(now);
            both.agree(now);
            events += 1;
            // Most events come close together; now and then nobody comes for a while.
            let pause = if both.dice.roll(100) == 0 { both.dice.roll(600_000) } else { both.dice.roll(2_000) };
            now += Duration::from_millis(pause);
            both.agree(now);
        }
        assert!(events > 10_000, "seed {seed}: {events} events");
    }
}
