//! What any program can do without rights: datagrams and connections.

use crate::bait::baits;
use crate::packet::{TCP, UDP};
use crate::probe::{ODD_PORTS, Place, Question};
use crate::sight::{Group, Means, Tally};
use socket2::{Domain, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_millis(800);

/// Answers that are read at most from one socket: whoever sends more has been heard.
const ENOUGH: usize = 1_000;

const NEEDS: &str = "needs raw sockets: run it as root, or with CAP_NET_RAW";
const LOW_PORTS: &str = "needs ports below 1024: run it as root, or with CAP_NET_BIND_SERVICE";

pub(crate) fn look(question: Question, target: SocketAddr) -> io::Result<Tally> {
    let mut tally = Tally::new(Means::Plain);
    for group in [Group::Fragments, Group::Icmp, Group::Protocols] {
        tally.missing(group, NEEDS);
    }
    let unused = SocketAddr::new(target.ip(), question.unused);
    udp(&mut tally, Group::UnusedPort, 0, unused)?;
    tcp(&mut tally, Group::UnusedPort, 0, unused)?;
    udp(&mut tally, Group::Udp, 0, target)?;
    tcp(&mut tally, Group::Tcp, 0, target)?;
    for odd in ODD_PORTS {
        let tried =
            udp(&mut tally, Group::OddPorts, odd, target).and_then(|()| tcp(&mut tally, Group::OddPorts, odd, target));
        match tried {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => tally.missing(Group::OddPorts, LOW_PORTS),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                tally.missing(Group::OddPorts, format!("port {odd} is in use on this machine"));
            }
            tried => tried?,
        }
    }
    Ok(tally)
}

fn any(target: SocketAddr, port: u16) -> SocketAddr {
    let any: IpAddr = if target.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    SocketAddr::new(any, port)
}

fn udp(tally: &mut Tally, group: Group, from: u16, target: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind(any(target, from))?;
    socket.connect(target)?;
    let place = Place { group, protocol: UDP, kind: 0 };
    for bait in baits() {
        // A refusal of an earlier one is told instead of sending this one.
        let sent = socket.send(&bait).or_else(|error| {
            if error.kind() == ErrorKind::ConnectionRefused {
                refused(tally, place);
                return socket.send(&bait);
            }
            Err(error)
        });
        if let Err(error) = sent
            && error.kind() != ErrorKind::ConnectionRefused
        {
            return Err(error);
        }
        tally.sent(group);
    }
    let until = Instant::now() + PATIENCE;
    let mut bytes = [0; 2048];
    for _ in 0..ENOUGH {
        let Some(rest) = until.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) else { break };
        socket.set_read_timeout(Some(rest))?;
        match socket.recv(&mut bytes) {
            Ok(length) => tally.note(place, format!("UDP, {length} bytes"), false),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => refused(tally, place),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn refused(tally: &mut Tally, place: Place) {
    tally.note(place, "ICMP, port unreachable".to_owned(), false);
}

fn tcp(tally: &mut Tally, group: Group, from: u16, target: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&any(target, from).into())?;
    let place = Place { group, protocol: TCP, kind: 0 };
    match socket.connect_timeout(&target.into(), PATIENCE) {
        Ok(()) => tally.note(place, "TCP, a connection".to_owned(), true),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => tally.note(place, "TCP RST".to_owned(), false),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
        Err(error) if matches!(error.kind(), ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => {
            tally.note(place, "ICMP, unreachable".to_owned(), false);
        }
        Err(error) => return Err(error),
    }
    tally.sent(group);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Ends;
    use crate::sight::{Sight, Verdict};
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);

    fn seen(port: u16) -> Sight {
        let unused = TcpListener::bind((HERE, 0)).and_then(|free| free.local_addr()).expect("a free port").port();
        let question = Question { ends: Ends::V4(Ipv4Addr::LOCALHOST, HERE), port, unused, ours: 20_000 };
        look(question, (HERE, port).into()).expect("loopback is there").judge()
    }

    fn verdict(sight: &Sight, group: Group) -> Verdict {
        sight.rows.iter().find(|row| row.probes == group).expect("a row for every group").verdict
    }

    #[test]
    fn an_open_udp_port_that_says_nothing_stands_out_on_a_machine_that_refuses_the_others() {
        let silent = UdpSocket::bind((HERE, 0)).expect("a port");
        let sight = seen(silent.local_addr().expect("bound").port());
        assert_eq!(verdict(&sight, Group::Udp), Verdict::Silent);
        assert_eq!((verdict(&sight, Group::UnusedPort), sight.stands_out), (Verdict::Machine, true));
        assert_eq!(verdict(&sight, Group::Tcp), Verdict::Machine, "{sight:?}");
        assert_eq!((verdict(&sight, Group::Icmp), sight.means), (Verdict::NotTried, Means::Plain));
    }

    #[test]
    fn an_echo_is_seen() {
        let echo = UdpSocket::bind((HERE, 0)).expect("a port");
        let port = echo.local_addr().expect("bound").port();
        let answering = thread::spawn(move || -> io::Result<()> {
            let (length, from) = echo.recv_from(&mut [0; 2048])?;
            echo.send_to(&[7; 9][..length.min(9)], from).map(drop)
        });
        let sight = seen(port);
        assert_eq!(verdict(&sight, Group::Udp), Verdict::Service, "{sight:?}");
        assert!(answering.join().is_ok_and(|answered| answered.is_ok()));
    }

    #[test]
    fn an_open_tcp_port_is_seen() {
        let listener = TcpListener::bind((HERE, 0)).expect("a port");
        let sight = seen(listener.local_addr().expect("bound").port());
        assert_eq!(verdict(&sight, Group::Tcp), Verdict::Service);
    }
}
