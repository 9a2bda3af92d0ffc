//! Whatever order things come in, and whatever the shell forgets: nothing opens, and nothing is said, before it may be.

use super::gateway_bench::{Bench, HOME, HOME6, Order, SeenSet, Sent};
use crate::common::{address, ms};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use vestibule_proto::id::{KnockId, LinkRequest, TicketId};

#[derive(Debug, Clone)]
enum Step {
    /// The controller brings a knock: a new one, or, so many back, an old one; right or wrong; over IPv4 or IPv6.
    Bring {
        back: usize,
        wrong: bool,
        v6: bool,
    },
    /// The shell confirms something, or says that it failed. Of all that waits, the `nth`.
    Confirm {
        nth: usize,
        ok: bool,
    },
    Withdraw {
        nth: usize,
    },
    Tag {
        nth: usize,
    },
    Pass(u64),
    LinkDown,
    Revoke,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..6usize, prop::bool::weighted(0.1), any::<bool>())
            .prop_map(|(back, wrong, v6)| Step::Bring { back, wrong, v6 }),
        10 => (0..8usize, prop::bool::weighted(0.85)).prop_map(|(nth, ok)| Step::Confirm { nth, ok }),
        1 => (0..8usize).prop_map(|nth| Step::Withdraw { nth }),
        3 => (0..8usize).prop_map(|nth| Step::Tag { nth }),
        3 => (0..4_000u64).prop_map(Step::Pass),
        1 => Just(Step::LinkDown),
        1 => Just(Step::Revoke),
    ]
}

/// What the world around the gateway knows of one request.
#[derive(Default)]
struct Seen {
    knock: Option<KnockId>,
    fresh: bool,
    opened: bool,
    ticket: Option<TicketId>,
    answers: usize,
    withdrawn: bool,
}

#[derive(Default)]
struct World {
    sent: Vec<Sent>,
    set: SeenSet,
    requests: BTreeMap<LinkRequest, Seen>,
    /// Doors that the back end has open.
    open: BTreeSet<TicketId>,
    tickets: Vec<TicketId>,
    ready: BTreeSet<TicketId>,
    opened_for: BTreeMap<KnockId, usize>,
    revoked: bool,
}

impl World {
    fn request(&self, nth: usize) -> Option<LinkRequest> {
        let count = self.requests.len();
        self.requests.keys().rev().nth(nth % count.max(1)).copied()
    }

    /// Carries out orders and checks each against what may be ordered now.
    fn carry_out(&mut self, request: Option<LinkRequest>, orders: Vec<Order>) {
        for order in orders {
            match order {
                Order::Shut(ticket) => {
                    self.open.remove(&ticket);
                    self.ready.remove(&ticket);
                }
                Order::Open(ticket, tags) => {
                    let seen = self.requests.get_mut(&request.expect("a door is opened for a request")).unwrap();
                    seen.ticket = Some(ticket);
                    assert!(seen.fresh && !seen.withdrawn && !self.revoked && tags.len() == 4);
                    *self.opened_for.entry(seen.knock.unwrap()).or_default() += 1;
                    self.open.insert(ticket);
                    self.tickets.push(ticket);
                }
                Order::Ready(_) => {
                    let seen = self.requests.get_mut(&request.unwrap()).unwrap();
                    assert!(seen.fresh && seen.opened && !seen.withdrawn && !self.revoked);
                    seen.answers += 1;
                    let ticket = seen.ticket.unwrap();
                    assert!(self.open.contains(&ticket));
                    self.ready.insert(ticket);
                }
                Order::Count(_) | Order::Remember(..) | Order::Refused(_) | Order::Seen | Order::Away => {}
            }
        }
        assert!(self.open.len() <= 2, "one door per family");
    }
}

fn bring(bench: &mut Bench, world: &mut World, back: usize, wrong: bool, v6: bool) {
    let index = if back > 0 && world.sent.len() >= back {
        world.sent.len() - back
    } else {
        let sent = if wrong { bench.wrong(world.sent.len() as u8) } else { bench.right() };
        world.sent.push(sent);
        world.sent.len() - 1
    };
    let (request, orders) = bench.deliver(if v6 { HOME6 } else { HOME }, &world.sent[index]);
    world.requests.insert(request, Seen { knock: Some(world.sent[index].knock.knock_id), ..Seen::default() });
    world.carry_out(Some(request), orders);
}

/// The shell calls back, in the wrong state too: the machine must not care.
fn confirm(bench: &mut Bench, world: &mut World, nth: usize, ok: bool) {
    let Some(request) = world.request(nth) else { return };
    let seen = world.requests.get_mut(&request).unwrap();
    let knock = seen.knock.unwrap();
    let orders = match (ok, seen.fresh) {
        (_, true) => {
            seen.opened = ok;
            bench.opened(request, ok)
        }
        (true, false) => {
            let counted = bench.counted(request, 1);
            if counted.is_empty() {
                seen.fresh = world.set.insert(knock);
                let fresh = seen.fresh;
                bench.remembered(request, fresh)
            } else {
                counted
            }
        }
        (false, false) => bench.remembered(request, false),
    };
    world.carry_out(Some(request), orders);
}

fn run(steps: Vec<Step>) {
    let (mut bench, mut world) = (Bench::new(), World::default());
    for step in steps {
        match step {
            Step::Bring { back, wrong, v6 } => bring(&mut bench, &mut world, back, wrong, v6),
            Step::Confirm { nth, ok } => confirm(&mut bench, &mut world, nth, ok),
            Step::Withdraw { nth } => {
                if let Some(request) = world.request(nth) {
                    world.requests.get_mut(&request).unwrap().withdrawn = true;
                    let orders = bench.withdraw(request);
                    world.carry_out(None, orders);
                }
            }
            Step::Tag { nth } => {
                let ticket = world.tickets.iter().rev().nth(nth).copied();
                if let Some(ticket) = ticket {
                    let granted = bench.gateway.handle_tag_spent(ticket, address(HOME), bench.now);
                    assert!(granted.is_none() || world.ready.contains(&ticket), "only through a door that was told");
                    if granted.is_some() {
                        world.open.remove(&ticket);
                        world.ready.remove(&ticket);
                    }
                    let orders = bench.orders();
                    world.carry_out(None, orders);
                }
            }
            Step::Pass(millis) => {
                let orders = bench.pass(ms(millis));
                world.carry_out(None, orders);
            }
            Step::LinkDown => {
                bench.gateway.handle_link_down();
                let orders = bench.orders();
                world.carry_out(None, orders);
            }
            Step::Revoke => {
                bench.gateway.revoke_device(bench.device());
                world.revoked = true;
                let orders = bench.orders();
                world.carry_out(None, orders);
            }
        }
    }
    assert!(world.opened_for.values().all(|times| *times == 1), "one knock, one door");
    assert!(world.requests.values().all(|seen| seen.answers <= 1));
    let orders = bench.pass(ms(20_000));
    world.carry_out(None, orders);
    assert!(world.open.is_empty(), "every door is shut in the end");
    assert_eq!((bench.gateway.pending_count(), bench.gateway.poll_timeout()), ((0, 0), None));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_opens_only_what_may_be_opened(steps in prop::collection::vec(step(), 1..60)) {
        run(steps);
    }
}
