//! The same world as the model's, and every order of what can happen in it: breadth first, each state once, until there is no new
//! one. Two commands, small ones or a small and a large one, some records that wait for the disk, power failing and the clock set.
//! The world says itself what must not happen.

use super::ledger::Decision;
use super::model::{Flaw, LARGE, Stage, Step, World, is_settled, key, name};
use super::record::Record;
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::mem::{Discriminant, discriminant};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How far a run goes.
#[derive(Clone, Copy)]
struct Bounds {
    commands: [u8; 2],
    /// Records that wait for the disk.
    waiting: usize,
    crashes: u8,
}

const SMALL: Bounds = Bounds { commands: [0, 1], waiting: 5, crashes: 2 };
const MIXED: Bounds = Bounds { commands: [0, LARGE], waiting: 4, crashes: 2 };
/// Long after every claim was given.
const FAR_AHEAD: u64 = 1 << 50;

/// All of a world that its future hangs on. Times are left out: nothing looks at them but what is outdated, and that hangs on
/// whether the clock was set.
#[derive(PartialEq, Eq, Hash)]
struct State {
    commands: Vec<Command>,
    /// What waits for the disk, in order.
    waiting: Vec<(Discriminant<Record>, [u8; 32])>,
    interrupted: BTreeSet<[u8; 32]>,
    crashes: u8,
    clock_set: bool,
}

/// By its name, and by what it is called before it has one.
type Standings = [Option<Discriminant<Decision>>; 2];

#[derive(PartialEq, Eq, Hash)]
struct Command {
    stage: Option<Stage>,
    standings: Standings,
    /// What a start would make of the records that are on the disk for sure.
    on_disk: Standings,
    interrupted_on_disk: [bool; 2],
    settled_on_disk: bool,
    forwards: u32,
    answered: bool,
}

/// A world, and what has happened to it from outside.
#[derive(Clone)]
struct Node {
    world: World,
    crashes: u8,
    clock_set: bool,
    /// Where it is in [`Tree`].
    at: usize,
}

/// By which step each state was first reached, and from which.
type Tree = Vec<(usize, Option<Step>)>;

fn state(node: &Node, bounds: Bounds) -> State {
    let world = &node.world;
    let (on_disk, waiting) = world.disk.split_at(world.synced);
    let (ledger, starts, interrupted) = world.replayed(on_disk);
    let kind = |standing: Option<Decision>| standing.map(|standing| discriminant(&standing));
    let commands = bounds.commands.map(|n| Command {
        stage: world.running.get(&n).copied(),
        standings: [kind(world.ledger.standing(name(n))), kind(world.starts.standing(key(n)))],
        on_disk: [kind(ledger.standing(name(n))), kind(starts.standing(key(n)))],
        interrupted_on_disk: [name(n), key(n)].map(|name| interrupted.iter().any(|one| one.name == name)),
        settled_on_disk: is_settled(on_disk, n),
        forwards: world.forwards.get(&n).copied().unwrap_or(0),
        answered: world.answered.contains(&n),
    });
    State {
        commands: commands.into(),
        waiting: waiting.iter().map(|record| (discriminant(record), record.name().0)).collect(),
        interrupted: world.interrupted.iter().map(|one| one.name.0).collect(),
        crashes: node.crashes,
        clock_set: node.clock_set,
    }
}

/// All that can happen next.
fn steps(node: &Node, bounds: Bounds) -> Vec<Step> {
    let waiting = node.world.disk.len() - node.world.synced;
    let mut steps = vec![Step::Sync];
    for n in bounds.commands {
        steps.extend([Step::Claim(n), Step::Forward(n)]);
        // One that is dropped may leave two.
        if waiting + 1 < bounds.waiting {
            steps.extend([Step::Queue(n), Step::Name(n), Step::Answered(n), Step::Unsent(n), Step::Drop(n)]);
        }
    }
    if waiting + node.world.interrupted.len() <= bounds.waiting {
        steps.push(Step::Acknowledge);
    }
    if node.crashes < bounds.crashes {
        steps.extend((0..=waiting).map(Step::Crash));
    }
    if !node.clock_set {
        steps.push(Step::SetClock(FAR_AHEAD));
    }
    steps
}

/// Explores everything: how many states there are, or the shortest way to one that must not be.
fn explore(bounds: Bounds, flaw: Option<Flaw>) -> Result<usize, Vec<Step>> {
    let mut tree: Tree = vec![(0, None)];
    let first = Node { world: World::new(flaw), crashes: 0, clock_set: false, at: 0 };
    let mut seen = HashSet::from([state(&first, bounds)]);
    let mut next = VecDeque::from([first]);
    while let Some(node) = next.pop_front() {
        for step in steps(&node, bounds) {
            let Some(after) = taken(&node, step) else { return Err(way_to(&tree, node.at, step)) };
            if seen.insert(state(&after, bounds)) {
                tree.push((node.at, Some(step)));
                next.push_back(Node { at: tree.len() - 1, ..after });
            }
        }
    }
    Ok(seen.len())
}

/// The world after a step; `None` where it says that this must not happen.
fn taken(node: &Node, step: Step) -> Option<Node> {
    let mut after = node.clone();
    after.crashes += u8::from(matches!(step, Step::Crash(_)));
    after.clock_set |= matches!(step, Step::SetClock(_));
    let held = catch_unwind(AssertUnwindSafe(|| after.world.step(step))).is_ok();
    (held && after.world.forwards.values().all(|times| *times <= 1)).then_some(after)
}

fn way_to(tree: &Tree, mut at: usize, last: Step) -> Vec<Step> {
    let mut way = vec![last];
    while let (before, Some(step)) = tree[at] {
        way.push(step);
        at = before;
    }
    way.reverse();
    way
}

#[test]
fn explored_no_order_of_events_runs_a_command_twice() {
    for bounds in [SMALL, MIXED] {
        let states = explore(bounds, None).unwrap_or_else(|way| panic!("{way:?}"));
        println!("{states} states, all of them");
        assert!(states > 10_000, "{states} states: hardly anything was tried");
    }
}

#[test]
fn explored_each_rule_left_out_runs_a_command_twice() {
    use Flaw::{AlikeRuns, BegunForgotten, GivenBackWhenSent, OutcomesOnly, SentUnsynced, SweptByTheClock};
    let of_all = [SentUnsynced, OutcomesOnly, GivenBackWhenSent, SweptByTheClock];
    let of_small = of_all.map(|flaw| (SMALL, flaw));
    for (bounds, flaw) in of_small.into_iter().chain([(MIXED, BegunForgotten), (MIXED, AlikeRuns)]) {
        let way = explore(bounds, Some(flaw)).expect_err("the explorer sees it");
        println!("{flaw:?}: {way:?}");
        assert!(way.len() <= 10, "{flaw:?} takes {way:?}");
    }
}
