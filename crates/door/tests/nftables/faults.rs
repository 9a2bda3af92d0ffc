//! What may happen to the table, and to the process that keeps it.

use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use vestibule_door::{Choice, Command, DirectPort, Door, DoorError, Lack, Limits, NftablesDoor, NftablesError};

use crate::wire::{Wire, again_by, in_own_network, nft, run};
use crate::{LATER, SECOND, address, admission, admit, initial, open, spend};

/// Set in a process that is going to be killed.
const DOOMED: &str = "VESTIBULE_TEST_DOOMED";

#[test]
fn a_table_that_somebody_deletes_is_noticed_and_made_anew_with_all_it_held() {
    in_own_network("faults::a_table_that_somebody_deletes_is_noticed_and_made_anew_with_all_it_held", || {
        let (mut wire, door) = (Wire::lay(), open(Limits::default()));
        let (home, stranger) = (address("198.51.100.7:40000"), address("203.0.113.9:40000"));
        let admission = admit(&door, 1, 20 * SECOND);
        spend(&door, home, &admission.tags[0]);
        let _hold = door.hold(home, admission.tags[0].as_bytes(), Instant::now()).unwrap();
        let harms = [
            "delete table inet vestibule",
            "flush ruleset",
            "flush table inet vestibule",
            "flush chain inet vestibule guarded4_any",
            "flush chain inet vestibule door",
            "add table inet vestibule { flags dormant; }",
            "insert rule inet vestibule door accept",
        ];
        for harm in harms {
            nft(harm);
            let deadline = Instant::now() + 2 * SECOND;
            while wire.send(stranger, &LATER).is_some() {
                assert!(!door.is_live(stranger, Instant::now()), "user space lets nobody in meanwhile");
                assert!(Instant::now() < deadline, "{harm}: nobody noticed");
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(wire.send(home, &LATER).is_some(), "{harm}: who is in stays in");
            assert!(wire.send(stranger, &initial(admission.tags[1].as_bytes())).is_some(), "{harm}: an unspent tag");
        }
    });
}

#[test]
fn rules_follow_the_machine_s_addresses_and_who_is_in_stays_in() {
    in_own_network("faults::rules_follow_the_machine_s_addresses_and_who_is_in_stays_in", || {
        let (mut wire, door) = (Wire::lay(), open(Limits::default()));
        let (home, stranger) = (address("198.51.100.7:40000"), address("203.0.113.9:40000"));
        let admission = admit(&door, 1, 20 * SECOND);
        spend(&door, home, &admission.tags[0]);
        let _hold = door.hold(home, admission.tags[0].as_bytes(), Instant::now()).unwrap();
        // So does nft list them.
        let rule = |address: &str| {
            let listed = match address.parse().unwrap() {
                IpAddr::V4(v4) => format!("@nh,128,32 0x{:x} ", v4.to_bits()),
                IpAddr::V6(v6) => format!("@nh,192,128 0x{:x} ", v6.to_bits()),
            };
            nft("list chain inet vestibule door").contains(&listed)
        };
        assert!(rule("10.99.0.1") && rule("fd99::1") && !rule("10.99.0.77"));
        let guarded = || run(&["nft", "-a", "list", "chain", "inet", "vestibule", "guarded4_any"]);
        let handles = |listed: String| {
            listed.lines().filter_map(|line| Some(line.split_once("# handle")?.1.to_owned())).collect::<Vec<_>>()
        };
        let before = handles(guarded());
        for (word, comes) in [("add", true), ("del", false)] {
            run(&["ip", "address", word, "10.99.0.77/24", "dev", "gate"]);
            let deadline = Instant::now() + 2 * SECOND;
            while rule("10.99.0.77") != comes {
                assert!(Instant::now() < deadline, "{word}: nobody noticed");
                std::thread::sleep(Duration::from_millis(20));
                assert!(wire.send(home, &LATER).is_some() && wire.send(stranger, &LATER).is_none(), "{word}");
            }
            assert!(wire.send(home, &LATER).is_some() && wire.send(stranger, &LATER).is_none(), "{word}");
        }
        std::thread::sleep(SECOND);
        assert_eq!(handles(guarded()), before, "nothing else was made anew");
        // Somebody else's change of these rules is still noticed.
        nft("flush chain inet vestibule door");
        let deadline = Instant::now() + 2 * SECOND;
        while wire.send(stranger, &LATER).is_some() {
            assert!(Instant::now() < deadline, "nobody noticed");
        }
    });
}

#[test]
fn an_admission_at_a_deleted_table_makes_it_anew() {
    in_own_network("faults::an_admission_at_a_deleted_table_makes_it_anew", || {
        let (mut wire, door) = (Wire::lay(), open(Limits::default()));
        let stranger = address("203.0.113.9:40000");
        for number in 1..20 {
            nft("delete table inet vestibule");
            let admission = admit(&door, number, 10 * SECOND);
            assert!(wire.send(stranger, &LATER).is_none(), "shut when the admission is in force");
            assert!(wire.send(stranger, &initial(admission.tags[0].as_bytes())).is_some());
        }
    });
}

#[test]
fn elements_that_somebody_takes_out_shut_the_door_and_break_nothing() {
    in_own_network("faults::elements_that_somebody_takes_out_shut_the_door_and_break_nothing", || {
        let (mut wire, door) = (Wire::lay(), open(Limits::default()));
        let home = address("198.51.100.7:40000");
        let admission = admit(&door, 1, 10 * SECOND);
        spend(&door, home, &admission.tags[0]);
        nft("flush set inet vestibule live4");
        assert!(wire.send(home, &LATER).is_none());
        // What the kernel does not know any more can't be taken out: the table is made anew.
        let _hold = door.hold(home, admission.tags[0].as_bytes(), Instant::now()).unwrap();
        assert!(wire.send(home, &LATER).is_some());
    });
}

#[test]
fn after_a_crash_the_door_is_shut_and_the_next_start_begins_anew() {
    let name = "faults::after_a_crash_the_door_is_shut_and_the_next_start_begins_anew";
    in_own_network(name, || {
        if std::env::var_os(DOOMED).is_some() {
            return live_until_killed();
        }
        let (mut wire, home, stranger) = (Wire::lay(), address("198.51.100.7:40000"), address("203.0.113.9:40000"));
        let mut doomed = Process::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(DOOMED, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(doomed.stdout.take().unwrap()).lines();
        assert!(said.any(|line| line.unwrap().contains("standing")), "the door stands");
        let unspent = initial(admission(1, SECOND).tags[1].as_bytes());
        assert!(wire.send(home, &LATER).is_some() && wire.send(stranger, &unspent).is_some());
        doomed.kill().unwrap();
        doomed.wait().unwrap();
        assert!(wire.send(stranger, &LATER).is_none(), "shut to strangers");
        std::thread::sleep(4 * SECOND);
        assert!(wire.send(stranger, &unspent).is_none(), "tags go by themselves");
        let listed = nft("list set inet vestibule live4");
        assert!(listed.contains("198.51.100.7 . 40000") && listed.contains("expires"), "so do flows: {listed}");
        let _door = open(Limits::default());
        assert!(wire.send(home, &LATER).is_none(), "a new process knows nobody");
        assert_eq!(nft("list tables"), "table inet vestibule\n");
    });
}

/// Otherwise nobody could come in, whatever the other door says.
#[test]
fn another_door_takes_away_what_a_killed_one_left_but_direct_services_stay_shut() {
    let name = "faults::another_door_takes_away_what_a_killed_one_left_but_direct_services_stay_shut";
    in_own_network(name, || {
        if let Some(how) = std::env::var_os(DOOMED) {
            let door = open(Limits::default());
            let direct = DirectPort::new(2222, address("127.0.0.1:2222"));
            door.guard(if how == "direct" { std::slice::from_ref(&direct) } else { &[] }, Instant::now()).unwrap();
            println!("standing");
            std::thread::sleep(Duration::from_secs(60));
        }
        let (mut wire, stranger) = (Wire::lay(), address("203.0.113.9:40000"));
        let _listener = std::net::TcpListener::bind("[::]:2222").unwrap();
        let is_reached = |wire: &Wire| wire.connect(address("203.0.113.9:0"), 2222, SECOND / 4).is_ok();
        for how in ["alone", "direct"] {
            let mut doomed = Process::new(std::env::current_exe().unwrap())
                .args([name, "--exact", "--nocapture"])
                .env(DOOMED, how)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut said = BufReader::new(doomed.stdout.take().unwrap()).lines();
            assert!(said.any(|line| line.unwrap().contains("standing")), "the door stands");
            let other = Choice::Socket.open(&[address("[::]:4434")], &[], Limits::default()).unwrap();
            assert!(wire.send(stranger, &LATER).is_none(), "{how}: what a living process has is left alone");
            doomed.kill().unwrap();
            doomed.wait().unwrap();
            assert!(wire.send(stranger, &LATER).is_none(), "{how}: shut after a crash");
            drop(other);
            let _other = Choice::Socket.open(&[address("[::]:4434")], &[], Limits::default()).unwrap();
            assert!(wire.send(stranger, &LATER).is_some(), "{how}: it ends at the socket");
            assert_eq!(is_reached(&wire), how == "alone", "{how}");
            assert_eq!(nft("list tables").is_empty(), how == "alone", "{how}");
        }
    });
}

fn live_until_killed() {
    let (door, home) = (open(Limits::default()), address("198.51.100.7:40000"));
    let admission = admit(&door, 1, 2 * SECOND);
    spend(&door, home, &admission.tags[0]);
    let _hold = door.hold(home, admission.tags[0].as_bytes(), Instant::now()).unwrap();
    println!("standing");
    std::thread::sleep(Duration::from_secs(60));
    panic!("nobody killed it");
}

#[test]
fn a_full_set_of_the_kernel_refuses_and_keeps_what_it_has() {
    in_own_network("faults::a_full_set_of_the_kernel_refuses_and_keeps_what_it_has", || {
        let (mut wire, door) = (Wire::lay(), open(Limits { admissions: 1, sources: 1 }));
        // For user space each of them is over before the next one comes; the kernel has not forgotten them yet.
        for number in 1..=2 {
            admit(&door, number, Duration::from_millis(1));
            std::thread::sleep(Duration::from_millis(2));
        }
        let more = Command::Admit(admission(3, 10 * SECOND));
        assert_eq!(door.apply(&more, Instant::now()), Err(DoorError::Full { limit: 2 }));
        assert_eq!(door.admitted(), 0, "neither half has it");
        assert!(wire.send(address("198.51.100.7:1"), &initial(admission(3, SECOND).tags[0].as_bytes())).is_none());
        std::thread::sleep(4 * SECOND);
        let admission = admit(&door, 4, 10 * SECOND);
        assert!(wire.send(address("198.51.100.7:1"), &initial(admission.tags[0].as_bytes())).is_some(), "room again");
    });
}

#[test]
fn two_gateways_do_not_fight_for_the_table() {
    in_own_network("faults::two_gateways_do_not_fight_for_the_table", || {
        let door = open(Limits::default());
        let other = [address("10.99.0.1:9")];
        assert_eq!(NftablesDoor::open(&other, Limits::default()).err(), Some(NftablesError::Taken));
        let refused = Choice::Nftables.open(&other, &[], Limits::default()).err();
        assert_eq!(refused, Some(Lack::Nftables(NftablesError::Taken)));
        assert_eq!(Choice::Auto.open(&other, &[], Limits::default()).unwrap().name(), "socket");
        drop(door);
        assert_eq!(Choice::Auto.open(&other, &[], Limits::default()).unwrap().name(), "nftables");
    });
}

#[test]
fn without_the_capability_it_says_so() {
    again_by(&["-U", "--"], "faults::without_the_capability_it_says_so", || {
        let listen = [address("127.0.0.1:4434")];
        assert_eq!(NftablesDoor::probe(&listen), Err(NftablesError::NoPrivilege));
        let refused = NftablesDoor::open(&listen, Limits::default()).err();
        assert_eq!(refused, Some(NftablesError::NoPrivilege));
    });
}

#[test]
fn a_probe_says_whether_it_works_and_changes_nothing() {
    in_own_network("faults::a_probe_says_whether_it_works_and_changes_nothing", || {
        for listen in ["0.0.0.0:1", "[::]:1", "10.99.0.1:1", "[fd99::1]:1"] {
            assert_eq!(NftablesDoor::probe(&[address(listen)]), Ok(()), "{listen}");
        }
        assert_eq!(nft("list tables"), "");
    });
}

#[test]
fn a_port_chosen_later_can_t_be_guarded() {
    in_own_network("faults::a_port_chosen_later_can_t_be_guarded", || {
        let refused = NftablesDoor::open(&[address("127.0.0.1:0")], Limits::default()).err();
        assert_eq!(refused, Some(NftablesError::NoPort));
        assert_eq!(nft("list tables"), "");
    });
}
