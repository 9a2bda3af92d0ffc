//! All lists of events, shortest first; of those that lead to the same state only the first goes on.

use crate::explored::book::Wrong;
use crate::explored::events::Event;
use crate::explored::setting::Setting;
use crate::explored::world::World;
use std::collections::HashSet;
use std::thread;

/// Beside each other; every list is made anew, so they share nothing.
const THREADS: usize = 2;

/// What was found.
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) events: usize,
    /// In some of them the device was inside.
    pub(crate) entered: bool,
    /// No list is left that could be made longer.
    pub(crate) complete: bool,
    /// The shortest list that leads to what must never happen.
    pub(crate) wrong: Option<(Wrong, Vec<Event>)>,
}

/// A state that was reached.
struct Reached {
    way: Vec<Event>,
    next: Vec<Event>,
    fingerprint: u64,
    entered: bool,
}

/// Explores all lists of at most `depth` events.
pub(crate) fn explore(setting: &Setting, depth: usize) -> Found {
    let mut found = Found { states: 1, events: 0, entered: false, complete: false, wrong: None };
    let mut seen = HashSet::from([World::new(setting).fingerprint()]);
    let mut level = vec![(Vec::new(), World::new(setting).events())];
    for _ in 0..depth {
        let ways: Vec<Vec<Event>> =
            level.iter().flat_map(|(way, next)| next.iter().map(|event| longer(way, *event))).collect();
        found.events += ways.len();
        level = Vec::new();
        for reached in reach_all(setting, &ways) {
            match reached {
                Ok(reached) => {
                    found.entered |= reached.entered;
                    if seen.insert(reached.fingerprint) {
                        level.push((reached.way, reached.next));
                    }
                }
                Err(wrong) => {
                    found.wrong = Some(wrong);
                    return found;
                }
            }
        }
        found.states += level.len();
    }
    found.complete = level.iter().all(|(_, next)| next.is_empty());
    found
}

fn longer(way: &[Event], event: Event) -> Vec<Event> {
    way.iter().copied().chain([event]).collect()
}

/// In the order of `ways`, whichever thread was faster.
fn reach_all(setting: &Setting, ways: &[Vec<Event>]) -> Vec<Result<Reached, (Wrong, Vec<Event>)>> {
    let share = ways.len().div_ceil(THREADS).max(1);
    let reach_part = |part: &[Vec<Event>]| part.iter().map(|way| reach(setting, way)).collect::<Vec<_>>();
    thread::scope(|scope| {
        let threads: Vec<_> = ways.chunks(share).map(|part| scope.spawn(move || reach_part(part))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn reach(setting: &Setting, way: &[Event]) -> Result<Reached, (Wrong, Vec<Event>)> {
    let mut world = World::new(setting);
    for event in way {
        world.happen(*event).map_err(|wrong| (wrong, way.to_vec()))?;
    }
    Ok(Reached {
        way: way.to_vec(),
        next: world.events(),
        fingerprint: world.fingerprint(),
        entered: world.book.somebody_entered(),
    })
}
