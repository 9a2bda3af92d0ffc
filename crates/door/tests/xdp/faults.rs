//! What may happen to the interfaces, to the program, and to the process that keeps it.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::programs::{Xdp, XdpMode};
use vestibule_door::{Choice, Door, DoorError, Lack, Limits, NftablesError, XdpDoor, XdpError};

use crate::wire::{Wire, again_by, ip_of, run};
use crate::{LATER, SECOND, address, admission, admit, has_program, initial, may_load, open, spend, with_programs};

/// Set in a process that is going to be killed.
const DOOMED: &str = "VESTIBULE_TEST_DOOMED";
/// What a process may do, as `setpriv` calls it.
const CAPABILITIES: &str = "VESTIBULE_TEST_CAPABILITIES";

/// Waits until the interface has a program, at most two seconds.
fn becomes_guarded(interface: &str) {
    let deadline = Instant::now() + 2 * SECOND;
    while !has_program(interface) {
        assert!(Instant::now() < deadline, "nobody guards {interface}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn ip(words: &str) {
    run(&[&["ip"], &words.split(' ').collect::<Vec<_>>()[..]].concat());
}

#[test]
fn an_interface_that_comes_goes_or_is_renamed_is_guarded() {
    with_programs("faults::an_interface_that_comes_goes_or_is_renamed_is_guarded", || {
        let (mut wire, door) = (Wire::lay(), open(Limits::default()));
        let home = address("198.51.100.7:40000");
        for _ in 0..2 {
            ip("link add late type veth peer name other");
            assert!(!has_program("late"), "it has no address");
            ip("address add 10.98.0.1/24 dev late");
            becomes_guarded("late");
            ip("link del late");
            admit_and_withdraw(&door);
        }
        ip("link set dev gate name front");
        assert!(has_program("front"), "the program stays");
        assert!(wire.send(home, &LATER).is_none());
        std::thread::sleep(SECOND);
        assert!(has_program("front") && wire.send(home, &LATER).is_none());
        ip("link set dev front name gate");
        // The wire itself is torn, and laid anew.
        ip("link del gate");
        admit_and_withdraw(&door);
        ip(&format!("link add gate type veth peer name eth0 netns {}", wire.clients()));
        ip("address add 10.99.0.1/24 dev gate");
        ip("link set gate up");
        ip_of(
            &wire.clients(),
            "address add 10.99.0.2/24 dev eth0\naddress add 198.51.100.7/32 dev eth0\nlink set eth0 up\n",
        );
        ip("route add default via 10.99.0.2");
        becomes_guarded("gate");
        let admission = admit(&door, 9, 10 * SECOND);
        assert!(wire.send(home, &LATER).is_none());
        assert!(wire.send(home, &initial(admission.tags[0].as_bytes())).is_some());
    });
}

fn admit_and_withdraw(door: &dyn Door) {
    let admission = admit(door, 1, SECOND);
    door.apply(&vestibule_door::Command::Withdraw(admission.ticket), Instant::now()).unwrap();
}

#[test]
fn an_address_that_comes_later_is_guarded_too() {
    with_programs("faults::an_address_that_comes_later_is_guarded_too", || {
        let (wire, door) = (Wire::lay(), open(Limits::default()));
        ip("address add 10.99.0.77/24 dev gate");
        ip_of(&wire.clients(), "route add 10.99.0.77/32 dev eth0\n");
        std::thread::sleep(SECOND);
        let before = door.dropped().unwrap();
        run(&["nsenter", "-t", &wire.clients(), "-n", "bash", "-c", "echo junk > /dev/udp/10.99.0.77/4434"]);
        let deadline = Instant::now() + 2 * SECOND;
        while door.dropped() == Some(before) {
            assert!(Instant::now() < deadline, "it passes");
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

#[test]
fn an_interface_that_takes_no_program_shuts_the_door_until_it_does() {
    with_programs("faults::an_interface_that_takes_no_program_shuts_the_door_until_it_does", || {
        let _wire = Wire::lay();
        let theirs = XdpDoor::open(&[address("127.0.0.1:9")], &["lo".to_owned()], Limits::default()).unwrap();
        let listen = [address("[::]:4434")];
        let wanted = ["gate".to_owned(), "late".to_owned()];
        assert_eq!(
            XdpDoor::open(&listen, &wanted, Limits::default()).err(),
            Some(XdpError::NoInterface { name: "late".to_owned() })
        );
        ip("link add late type veth peer name other");
        let door = XdpDoor::open(&listen, &wanted, Limits::default()).unwrap();
        admit_and_withdraw(&door);
        // The name goes to an interface that has somebody else's program.
        ip("link del late");
        ip("link set lo down");
        ip("link set dev lo name late");
        let deadline = Instant::now() + 2 * SECOND;
        let taken = XdpError::Taken { interface: "late".to_owned() };
        loop {
            let refused = door.apply(&vestibule_door::Command::Admit(admission(2, SECOND)), Instant::now());
            match refused {
                Err(refused) => break assert_eq!(refused, DoorError::Xdp(taken)),
                Ok(()) => {
                    door.apply(&vestibule_door::Command::Withdraw(admission(2, SECOND).ticket), Instant::now()).unwrap()
                }
            }
            assert!(Instant::now() < deadline, "nobody noticed");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(door.admitted(), 0, "neither half has it");
        drop(theirs);
        admit_and_withdraw(&door);
        assert!(has_program("late"), "an admission sees to it at once");
    });
}

#[test]
fn after_a_crash_nothing_is_left_and_the_next_start_begins_anew() {
    let name = "faults::after_a_crash_nothing_is_left_and_the_next_start_begins_anew";
    with_programs(name, || {
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
        assert!(wire.send(home, &LATER).is_some() && wire.send(stranger, &LATER).is_none());
        doomed.kill().unwrap();
        doomed.wait().unwrap();
        let deadline = Instant::now() + 2 * SECOND;
        while has_program("gate") {
            assert!(Instant::now() < deadline, "the kernel takes it away with the process");
            std::thread::sleep(Duration::from_millis(5));
        }
        let _door = open(Limits::default());
        assert!(wire.send(home, &LATER).is_none(), "a new process knows nobody");
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
fn nobody_else_s_program_is_replaced_and_nobody_replaces_ours() {
    with_programs("faults::nobody_else_s_program_is_replaced_and_nobody_replaces_ours", || {
        let _wire = Wire::lay();
        let door = open(Limits::default());
        let other = [address("10.99.0.1:9")];
        let taken = XdpError::Taken { interface: "gate".to_owned() };
        assert_eq!(XdpDoor::probe(&other, &[]), Ok(()), "the doctor takes it for that of the gateway that runs");
        assert_eq!(XdpDoor::open(&other, &[], Limits::default()).err(), Some(taken.clone()));
        assert_eq!(Choice::Xdp.open(&other, &[], Limits::default()).err(), Some(Lack::Xdp(taken)));
        let off = Process::new("ip").args(["link", "set", "dev", "gate", "xdp", "off"]).status().unwrap();
        assert!(!off.success() && has_program("gate"), "the link is ours");
        drop(door);
        assert_eq!(Choice::Xdp.open(&other, &[], Limits::default()).unwrap().name(), "xdp");
        let mut theirs = theirs();
        let program: &mut Xdp = theirs.program_mut("vestibule_door").unwrap().try_into().unwrap();
        program.load().unwrap();
        program.attach("gate", XdpMode::Skb).unwrap();
        assert_eq!(XdpDoor::probe(&other, &[]), Err(XdpError::Taken { interface: "gate".to_owned() }));
    });
}

/// The kernel's call behind `bpftool link detach`, of the links that this process has; others' may have the same interface number.
const DETACH: &str = r#"
my ($bpf, $process) = @ARGV;
my ($get, $detach) = (30, 34);
for my $file (glob("/proc/$process/fdinfo/*")) {
    open(my $info, '<', $file) or next;
    my ($id) = map { /^link_id:\s*(\d+)/ ? $1 : () } <$info>;
    next unless $id;
    my $fd = syscall($bpf, $get, my $named = pack('L x124', $id), 128);
    die $! if $fd < 0;
    print "detached\n" if syscall($bpf, $detach, my $what = pack('L x124', $fd), 128) == 0;
}
"#;

#[test]
fn a_program_that_somebody_forces_out_is_put_back() {
    with_programs("faults::a_program_that_somebody_forces_out_is_put_back", || {
        let (mut wire, door) = (Wire::lay(), open(Limits::default()));
        let (home, stranger) = (address("198.51.100.7:40000"), address("203.0.113.9:40000"));
        let admission = admit(&door, 1, 20 * SECOND);
        spend(&door, home, &admission.tags[0]);
        let _hold = door.hold(home, admission.tags[0].as_bytes(), Instant::now()).unwrap();
        let call = if cfg!(target_arch = "x86_64") { "321" } else { "280" };
        let process = std::process::id().to_string();
        for round in 0..3 {
            assert_eq!(run(&["perl", "-e", DETACH, call, &process]), "detached\n", "round {round}");
            let deadline = Instant::now() + 2 * SECOND;
            while wire.send(stranger, &LATER).is_some() {
                assert!(!door.is_live(stranger, Instant::now()), "user space lets nobody in meanwhile");
                assert!(Instant::now() < deadline, "round {round}: nobody noticed");
            }
            becomes_guarded("gate");
            assert!(wire.send(home, &LATER).is_some(), "round {round}: who is in stays in");
            let unspent = initial(admission.tags[1].as_bytes());
            assert!(wire.send(stranger, &unspent).is_some(), "round {round}: an unspent tag");
        }
    });
}

/// A program that is nobody's gateway's.
fn theirs() -> Ebpf {
    let object = aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/xdp/door.bpf.o"));
    aya::EbpfLoader::new().load(object).unwrap()
}

#[test]
fn a_loopback_interface_is_guarded_where_it_is_named() {
    with_programs("faults::a_loopback_interface_is_guarded_where_it_is_named", || {
        ip("link set lo up");
        let listen = [address("127.0.0.1:4434"), address("[::1]:4434")];
        let lack = XdpError::Loopback { address: listen[0].ip() };
        assert_eq!(XdpDoor::probe(&listen, &[]), Err(lack.clone()));
        assert_eq!(XdpDoor::open(&listen, &[], Limits::default()).err(), Some(lack));
        let door = XdpDoor::open(&listen, &["lo".to_owned()], Limits::default()).unwrap();
        assert!(run(&["ip", "link", "show", "dev", "lo"]).contains("xdpgeneric"), "it has no driver that takes one");
        for (bind, to) in [("127.0.0.1:0", listen[0]), ("[::1]:0", listen[1])] {
            let (client, gateway) = (UdpSocket::bind(bind).unwrap(), UdpSocket::bind(to).unwrap());
            gateway.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let arrives = |datagram: &[u8]| {
                client.send_to(datagram, to).unwrap();
                gateway.recv_from(&mut [0; 2000]).is_ok()
            };
            assert!(!arrives(&LATER), "{to}");
            let admission = admit(&door, bind.len() as u8, 10 * SECOND);
            assert!(arrives(&initial(admission.tags[0].as_bytes())), "{to}");
            spend(&door, client.local_addr().unwrap(), &admission.tags[0]);
            assert!(arrives(&LATER), "{to}");
        }
    });
}

#[test]
fn a_tunnel_s_packets_begin_with_the_header_of_ip() {
    with_programs("faults::a_tunnel_s_packets_begin_with_the_header_of_ip", || {
        if !std::path::Path::new("/dev/net/tun").exists() {
            run(&["mkdir", "-p", "/dev/net"]);
            run(&["mknod", "/dev/net/tun", "c", "10", "200"]);
        }
        ip("tuntap add dev tunnel mode tun");
        ip("address add 10.97.0.1/24 dev tunnel");
        ip("link set tunnel up");
        let _door = XdpDoor::open(&[address("10.97.0.1:4434")], &[], Limits::default()).unwrap();
        assert!(run(&["ip", "-details", "link", "show", "dev", "tunnel"]).contains("vestibule_ip"));
    });
}

#[test]
fn auto_takes_the_driver_of_named_interfaces_and_else_the_packet_filter() {
    with_programs("faults::auto_takes_the_driver_of_named_interfaces_and_else_the_packet_filter", || {
        let mut wire = Wire::lay();
        ip("link set lo up");
        let listen = [address("[::]:4434")];
        let stranger = address("203.0.113.9:40000");
        let cases = [(&["gate"][..], "xdp"), (&["lo"], "nftables"), (&["gate", "lo"], "nftables"), (&[], "nftables")];
        for (named, expected) in cases {
            let named: Vec<_> = named.iter().map(|&name| name.to_owned()).collect();
            let door = Choice::Auto.open(&listen, &named, Limits::default()).unwrap();
            assert_eq!(door.name(), expected, "{named:?}");
            assert_eq!((has_program("gate"), has_program("lo")), (expected == "xdp", false), "{named:?}");
            assert!(wire.send(stranger, &LATER).is_none(), "{named:?}");
            drop(door);
            let first = vestibule_door::findings(&listen, &named)[0].name;
            assert_eq!(first, if named.is_empty() { "nftables" } else { "xdp" });
        }
        let refused = XdpDoor::open_in_drivers(&listen, &["lo".to_owned()], Limits::default()).err();
        assert_eq!(refused, Some(XdpError::NotInDriver { interface: "lo".to_owned() }));
    });
}

#[test]
fn without_the_capability_it_says_so() {
    again_by(&["-U", "--"], "faults::without_the_capability_it_says_so", || {
        let (listen, lo) = ([address("127.0.0.1:4434")], ["lo".to_owned()]);
        assert_eq!(XdpDoor::probe(&listen, &lo), Err(XdpError::NoPrivilege));
        assert_eq!(XdpDoor::open(&listen, &lo, Limits::default()).err(), Some(XdpError::NoPrivilege));
        assert_eq!(Choice::Auto.open(&listen, &lo, Limits::default()).unwrap().name(), "socket");
        let lacks: Vec<_> = vestibule_door::findings(&listen, &lo)
            .into_iter()
            .map(|finding| (finding.name, finding.works.err()))
            .collect();
        let expected = [
            ("xdp", Some(Lack::Xdp(XdpError::NoPrivilege))),
            ("nftables", Some(Lack::Nftables(NftablesError::NoPrivilege))),
            ("socket", None),
        ];
        assert_eq!(lacks, expected);
    });
}

/// By CAP_PERFMON a process can read the kernel's memory: the program is made so that it does without.
#[test]
fn two_capabilities_are_enough_and_each_is_needed() {
    if let Some(has) = std::env::var_os(CAPABILITIES) {
        let works = XdpDoor::probe(&[address("127.0.0.1:4434")], &["lo".to_owned()]);
        let expected = if has == "+bpf,+net_admin" { Ok(()) } else { Err(XdpError::NoPrivilege) };
        return assert_eq!(works, expected, "{has:?}");
    }
    if !may_load() {
        return;
    }
    for has in ["+bpf,+net_admin", "+bpf", "+net_admin", "+perfmon"] {
        let (variable, bounds) = (format!("{CAPABILITIES}={has}"), format!("--bounding-set=-all,{has}"));
        let words = ["-n", "-m", "--", "env", &variable, "setpriv", &bounds, "--inh-caps=-all"];
        again_by(&words, "faults::two_capabilities_are_enough_and_each_is_needed", || panic!("it runs there"));
    }
}

#[test]
fn a_probe_says_whether_it_works_and_changes_nothing() {
    with_programs("faults::a_probe_says_whether_it_works_and_changes_nothing", || {
        let _wire = Wire::lay();
        for listen in ["0.0.0.0:1", "[::]:1", "10.99.0.1:1", "[fd99::1]:1"] {
            assert_eq!(XdpDoor::probe(&[address(listen)], &[]), Ok(()), "{listen}");
        }
        assert!(!has_program("gate"));
        assert_eq!(XdpDoor::probe(&[address("0.0.0.0:0")], &[]), Err(XdpError::NoPort));
        let elsewhere = address("192.0.2.77:1");
        assert_eq!(XdpDoor::probe(&[elsewhere], &[]), Err(XdpError::NoCarrier { address: elsewhere.ip() }));
    });
}
