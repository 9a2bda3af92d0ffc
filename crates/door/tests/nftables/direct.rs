//! Direct services: TCP ports that are shut to all but admitted flows, which the kernel carries.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use vestibule_door::{
    DirectError, DirectFlow, DirectPort, Door, Limits, NftablesDoor, NftablesError, Opening, SocketDoor,
};

use crate::wire::{Wire, again_by, dial, in_own_network, nft, run};
use crate::{SECOND, address, open};

const DIRECT: u16 = 2222;
const HOME: &str = "198.51.100.7:40000";
const STRANGER: &str = "203.0.113.9:40000";
const SIX: &str = "[2001:db8::1]:40000";
/// How long an answer is waited for that must not come.
const SILENT: Duration = Duration::from_millis(400);

fn direct(upstream: &str) -> DirectPort {
    DirectPort::new(DIRECT, address(upstream))
}

/// A door before one direct service.
fn guarding(upstream: &str) -> NftablesDoor {
    let door = open(Limits::default());
    door.guard(&[direct(upstream)], Instant::now()).expect("the kernel has all that is needed");
    door
}

fn listening(port: u16) -> TcpListener {
    TcpListener::bind(SocketAddr::from(([0u16; 8], port))).unwrap()
}

fn exact(client: &str) -> Opening {
    let client = address(client);
    Opening { client: client.ip(), client_port: Some(client.port()), port: DIRECT }
}

fn slot(client: &str) -> Opening {
    Opening { client_port: None, ..exact(client) }
}

/// Connects to the direct service, which must answer. A new link of IPv6 carries nothing for a second.
fn connected(wire: &Wire, listener: &TcpListener, client: &str) -> (TcpStream, TcpStream) {
    let ours = wire.connect(address(client), DIRECT, 4 * SECOND).unwrap_or_else(|error| panic!("{client}: {error}"));
    let (theirs, _) = listener.accept().unwrap();
    for stream in [&ours, &theirs] {
        stream.set_read_timeout(Some(SILENT)).unwrap();
    }
    (ours, theirs)
}

fn is_silent(wire: &Wire, client: &str) {
    assert_eq!(wire.connect(address(client), DIRECT, SILENT).err(), Some(ErrorKind::TimedOut), "{client}");
}

fn passes(from: &mut TcpStream, to: &mut TcpStream) -> bool {
    from.write_all(b"x").unwrap();
    to.read(&mut [0; 16]).is_ok_and(|length| length > 0)
}

fn settled(door: &NftablesDoor, opening: &Opening) -> DirectFlow {
    door.settle_flow(opening, Instant::now()).unwrap().expect("it has begun")
}

#[test]
fn an_admitted_flow_passes_until_it_is_closed_and_nobody_else_gets_an_answer() {
    let name = "direct::an_admitted_flow_passes_until_it_is_closed_and_nobody_else_gets_an_answer";
    in_own_network(name, || {
        let (wire, listener) = (Wire::lay(), listening(DIRECT));
        drop(wire.connect(address(STRANGER), DIRECT, SECOND).unwrap());
        drop(listener.accept().unwrap());
        let door = guarding("127.0.0.1:2222");
        for client in [HOME, SIX] {
            is_silent(&wire, STRANGER);
            is_silent(&wire, client);
            door.open_flow(&exact(client), Instant::now()).unwrap();
            let other_port = SocketAddr::new(address(client).ip(), 40_001).to_string();
            is_silent(&wire, &other_port);
            is_silent(&wire, STRANGER);
            let (mut ours, mut theirs) = connected(&wire, &listener, client);
            let flow = settled(&door, &exact(client));
            assert_eq!(flow, DirectFlow { client: address(client), port: DIRECT });
            assert!(passes(&mut ours, &mut theirs) && passes(&mut theirs, &mut ours));
            is_silent(&wire, &other_port);
            let cut = Instant::now();
            door.close_flow(&exact(client), Some(&flow), cut);
            let took = cut.elapsed();
            assert!(took < Duration::from_millis(100), "{took:?}");
            assert!(!passes(&mut ours, &mut theirs), "inward");
            assert!(!passes(&mut theirs, &mut ours), "outward");
            is_silent(&wire, STRANGER);
        }
        drop(TcpStream::connect(("127.0.0.1", DIRECT)).expect("the machine itself is not asked"));
    });
}

#[test]
fn behind_a_nat_the_first_connection_takes_the_slot_and_no_second_one() {
    in_own_network("direct::behind_a_nat_the_first_connection_takes_the_slot_and_no_second_one", || {
        let (wire, listener) = (Wire::lay(), listening(DIRECT));
        let door = guarding("127.0.0.1:2222");
        for client in [HOME, SIX] {
            door.open_flow(&slot(client), Instant::now()).unwrap();
            assert_eq!(door.open_flow(&slot(client), Instant::now()), Err(DirectError::Waiting));
            is_silent(&wire, STRANGER);
            let (mut ours, mut theirs) = connected(&wire, &listener, client);
            let other_port = SocketAddr::new(address(client).ip(), 40_001).to_string();
            is_silent(&wire, &other_port);
            let flow = settled(&door, &slot(client));
            assert_eq!(flow.client, address(client), "the kernel knows who took it");
            is_silent(&wire, &other_port);
            assert!(passes(&mut ours, &mut theirs) && passes(&mut theirs, &mut ours));
            door.close_flow(&slot(client), Some(&flow), Instant::now());
            assert!(!passes(&mut ours, &mut theirs) && !passes(&mut theirs, &mut ours));
        }
        assert!(!listed().contains("expires"), "{}", listed());
    });
}

#[test]
fn of_many_connections_at_once_exactly_one_takes_the_slot() {
    in_own_network("direct::of_many_connections_at_once_exactly_one_takes_the_slot", || {
        let (wire, _listener) = (Wire::lay(), listening(DIRECT));
        let door = guarding("127.0.0.1:2222");
        for round in 0..10u16 {
            door.open_flow(&slot(HOME), Instant::now()).unwrap();
            let dials = move || {
                let home = address(HOME).ip();
                let ports = (0..16).map(|nth| 41_000 + 16 * round + nth);
                let at_once: Vec<_> = ports.map(|port| wire_thread(SocketAddr::new(home, port))).collect();
                at_once.into_iter().filter_map(|dial| dial.join().unwrap().ok()).count()
            };
            assert_eq!(wire.at_clients(dials), 1, "round {round}");
            let flow = settled(&door, &slot(HOME));
            door.close_flow(&slot(HOME), Some(&flow), Instant::now());
        }
    });
}

/// Threads stay in the network of the one that starts them.
fn wire_thread(from: SocketAddr) -> std::thread::JoinHandle<Result<TcpStream, ErrorKind>> {
    std::thread::spawn(move || dial(from, DIRECT, SILENT))
}

#[test]
fn an_opening_that_nobody_comes_for_opens_nothing_later() {
    in_own_network("direct::an_opening_that_nobody_comes_for_opens_nothing_later", || {
        let (wire, listener) = (Wire::lay(), listening(DIRECT));
        let door = guarding("127.0.0.1:2222");
        door.open_flow(&slot(HOME), Instant::now()).unwrap();
        assert_eq!(door.settle_flow(&slot(HOME), Instant::now()), Ok(None));
        is_silent(&wire, HOME);
        door.open_flow(&exact(HOME), Instant::now()).unwrap();
        door.close_flow(&exact(HOME), None, Instant::now());
        is_silent(&wire, HOME);
        // One that is closed while its connection stands is cut.
        door.open_flow(&slot(HOME), Instant::now()).unwrap();
        let (mut ours, mut theirs) = connected(&wire, &listener, HOME);
        door.close_flow(&slot(HOME), None, Instant::now());
        assert!(!passes(&mut ours, &mut theirs) && !passes(&mut theirs, &mut ours));
        door.open_flow(&slot(STRANGER), Instant::now()).unwrap();
        std::thread::sleep(11 * SECOND);
        is_silent(&wire, STRANGER);
        let away = Opening { port: 22, ..exact(HOME) };
        assert_eq!(door.open_flow(&away, Instant::now()), Err(DirectError::NoService));
    });
}

#[test]
fn a_flow_is_led_to_another_port_and_to_another_machine() {
    in_own_network("direct::a_flow_is_led_to_another_port_and_to_another_machine", || {
        let (wire, other_port) = (Wire::lay(), listening(2022));
        let door = guarding("127.0.0.1:2022");
        for client in [HOME, SIX] {
            door.open_flow(&exact(client), Instant::now()).unwrap();
            let (mut ours, mut theirs) = connected(&wire, &other_port, client);
            settled(&door, &exact(client));
            assert!(passes(&mut ours, &mut theirs) && passes(&mut theirs, &mut ours), "{client}");
            door.close_flow(&exact(client), None, Instant::now());
            assert!(!passes(&mut ours, &mut theirs) && !passes(&mut theirs, &mut ours), "{client}");
        }
        let routed = |upstream: &str| door.guard(&[direct(upstream)], Instant::now());
        assert_eq!(routed("10.99.0.2:22"), Err(DirectError::NotForwarding { family: "IPv4" }));
        assert_eq!(routed("[fd99::2]:22"), Err(DirectError::NotForwarding { family: "IPv6" }));
        run(&["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
        for (client, upstream, gate) in [(HOME, "10.99.0.2:5022", "10.99.0.1"), (SIX, "[fd99::2]:5022", "fd99::1")] {
            let there = wire.at_clients(|| TcpListener::bind(address(upstream)).unwrap());
            routed(upstream).unwrap();
            is_silent(&wire, &client.replace(":40000", ":40003"));
            let client = client.replace(":40000", ":40002");
            door.open_flow(&exact(&client), Instant::now()).unwrap();
            let (mut ours, mut theirs) = connected(&wire, &there, &client);
            let seen: IpAddr = gate.parse().unwrap();
            assert_eq!(theirs.peer_addr().unwrap().ip(), seen, "the upstream answers to the gateway");
            settled(&door, &exact(&client));
            assert!(passes(&mut ours, &mut theirs) && passes(&mut theirs, &mut ours), "{client}");
            door.close_flow(&exact(&client), None, Instant::now());
            assert!(!passes(&mut ours, &mut theirs) && !passes(&mut theirs, &mut ours), "{client}");
            is_silent(&wire, STRANGER);
        }
    });
}

/// Connection tracking remembers where a connection led. A flow from the same address and port, admitted to what the port is
/// now, must not get there.
#[test]
fn what_connection_tracking_remembers_leads_nowhere() {
    in_own_network("direct::what_connection_tracking_remembers_leads_nowhere", || {
        let (wire, former, now) = (Wire::lay(), listening(2022), listening(2023));
        let door = guarding("127.0.0.1:2022");
        door.open_flow(&exact(HOME), Instant::now()).unwrap();
        let (mut ours, mut theirs) = connected(&wire, &former, HOME);
        let flow = settled(&door, &exact(HOME));
        door.close_flow(&exact(HOME), Some(&flow), Instant::now());
        door.guard(&[direct("127.0.0.1:2023")], Instant::now()).unwrap();
        door.open_flow(&exact(HOME), Instant::now()).unwrap();
        assert!(!passes(&mut ours, &mut theirs), "the connection that stood");
        now.set_nonblocking(true).unwrap();
        assert!(now.accept().is_err());
        assert!(std::fs::read_to_string("/proc/net/nf_conntrack").unwrap().contains("dport=2222"), "it is remembered");
    });
}

#[test]
fn other_tables_decide_for_themselves_and_open_nothing() {
    in_own_network("direct::other_tables_decide_for_themselves_and_open_nothing", || {
        nft("add table inet theirs { chain pre { type filter hook prerouting priority -400; accept; }; \
             chain input { type filter hook input priority 0; policy accept; tcp dport 2222 accept; }; }");
        let theirs = nft("list table inet theirs");
        let (wire, listener) = (Wire::lay(), listening(DIRECT));
        let door = guarding("127.0.0.1:2222");
        is_silent(&wire, STRANGER);
        door.open_flow(&exact(HOME), Instant::now()).unwrap();
        drop(connected(&wire, &listener, HOME));
        nft("insert rule inet theirs input tcp dport 2222 drop");
        door.open_flow(&exact("198.51.100.7:40005"), Instant::now()).unwrap();
        is_silent(&wire, "198.51.100.7:40005");
        nft("flush chain inet theirs input");
        nft("add rule inet theirs input tcp dport 2222 accept");
        drop(door);
        assert_eq!(nft("list table inet theirs"), theirs, "left alone");
    });
}

#[test]
fn a_door_that_ends_and_a_service_that_goes_leave_the_port_shut() {
    in_own_network("direct::a_door_that_ends_and_a_service_that_goes_leave_the_port_shut", || {
        let (wire, listener) = (Wire::lay(), listening(DIRECT));
        let door = guarding("127.0.0.1:2222");
        door.open_flow(&exact(HOME), Instant::now()).unwrap();
        let (mut ours, mut theirs) = connected(&wire, &listener, HOME);
        settled(&door, &exact(HOME));
        let other = DirectPort::new(2300, address("127.0.0.1:2300"));
        door.guard(&[direct("127.0.0.1:2222"), other], Instant::now()).unwrap();
        assert!(passes(&mut ours, &mut theirs), "who is in stays in");
        nft("delete table inet vestibule");
        let deadline = Instant::now() + 2 * SECOND;
        while wire.connect(address(STRANGER), DIRECT, SILENT).is_ok() {
            assert!(Instant::now() < deadline, "nobody noticed");
        }
        assert!(passes(&mut ours, &mut theirs) && passes(&mut theirs, &mut ours), "a table made anew has it");
        door.guard(&[other], Instant::now()).unwrap();
        assert_eq!(door.open_flow(&exact(HOME), Instant::now()), Err(DirectError::NoService));
        is_silent(&wire, STRANGER);
        let listed = nft("list set inet vestibule flows4");
        let time: u64 =
            listed.split("timeout ").nth(1).unwrap().split(char::is_alphabetic).next().unwrap().parse().unwrap();
        assert!(
            listed.contains("198.51.100.7 . 40000 . 2222 timeout") && time <= 120,
            "after a crash it goes: {listed}"
        );
        drop(door);
        is_silent(&wire, STRANGER);
        assert!(!passes(&mut ours, &mut theirs) && !passes(&mut theirs, &mut ours), "in peace, too");
        drop(guarding("127.0.0.1:2222"));
        drop(open(Limits::default()));
        assert_eq!(nft("list tables"), "", "without direct services nothing is left");
    });
}

#[test]
fn what_is_lacking_is_told_and_nothing_is_changed() {
    again_by(&["-U", "--"], "direct::what_is_lacking_is_told_and_nothing_is_changed", || {
        let listen = [address("127.0.0.1:4434")];
        let probed = NftablesDoor::probe_direct(&listen, &[direct("127.0.0.1:22")]);
        assert_eq!(probed, Err(DirectError::Nftables(NftablesError::NoPrivilege)));
        let socket = SocketDoor::new(Limits::default());
        assert_eq!(socket.guard(&[], Instant::now()), Ok(()));
        let refused = Err(DirectError::NotThisDoor { door: "socket" });
        assert_eq!(socket.guard(&[direct("127.0.0.1:22")], Instant::now()), refused);
        assert_eq!(socket.open_flow(&exact(HOME), Instant::now()), refused);
        let twice = [direct("127.0.0.1:22"), direct("127.0.0.1:23")];
        assert_eq!(NftablesDoor::probe_direct(&listen, &twice), Err(DirectError::SamePort(DIRECT)));
    });
}

fn listed() -> String {
    ["flows4", "flows6", "slots4", "slots6", "claims4", "claims6"]
        .map(|set| nft(&format!("list set inet vestibule {set}")))
        .concat()
}
