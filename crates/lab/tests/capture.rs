//! The eavesdropper sees every packet, no more and no less.

use std::{net::SocketAddr, path::Path, time::Duration};

use vestibule_lab::{Capture, Host, Network, Packets, Proto, Result, Upstream};

const A_WHILE: Duration = Duration::from_millis(50);

fn pair() -> Result<(Network, Host, Host)> {
    let network = Network::new()?;
    let (left, right) = (network.host("left")?, network.host("right")?);
    Ok((network, left, right))
}

#[test]
fn sees_exactly_the_datagrams_that_were_sent() -> Result<()> {
    let (_network, left, right) = pair()?;
    let mut capture = Capture::start(&right)?;
    let to = SocketAddr::from((right.v4(), 4433));
    let datagrams: Vec<Vec<u8>> = (0..100_u8).map(|number| vec![number; 1200]).collect();
    left.send_datagrams(datagrams.iter().map(|bytes| (to, bytes.as_slice())), A_WHILE)?;
    let seen = capture.so_far()?;
    seen.udp().from_ip(left.v4()).to_address(to).of_payload(1200).expect(100, "sent by left")?;
    assert!(seen.udp().iter().zip(&datagrams).all(|(packet, sent)| packet.payload() == sent), "in order, unaltered");
    // Nobody listens on that port, and the kernel says so, at most one at a time.
    assert!(!seen.only(|packet| packet.proto == Proto::Icmp(3)).sent_by(&right).is_empty(), "{seen}");

    left.send_datagrams([(to, &b"one more"[..])], A_WHILE)?;
    capture.stop()?.udp().expect(101, "all of them and one more")
}

#[test]
fn sees_nothing_where_nothing_was_sent() -> Result<()> {
    let (_network, left, right) = pair()?;
    let capture = Capture::start(&left)?;
    let dir = tempfile::tempdir()?;
    // Traffic over loopback is not on the wire.
    let echo = Upstream::echo(&left, dir.path())?;
    assert!(left.tcp_probe(SocketAddr::from(([127, 0, 0, 1], echo.address().port())))?.is_err());
    assert!(left.tcp_probe(echo.address())?.is_ok());
    let seen = capture.stop()?;
    seen.without_housekeeping().expect_none("any packet at left")?;
    seen.only(|packet| packet.proto == Proto::Arp).expect_none("a question for a neighbour")?;
    assert_eq!(right.counters()?.udp_sent(), 0);
    Ok(())
}

#[test]
fn counts_big_sends_as_the_packets_on_the_wire() -> Result<()> {
    let (_network, left, right) = pair()?;
    let dir = tempfile::tempdir()?;
    let web = Upstream::web(&right, dir.path())?;
    let capture = Capture::start(&left)?;
    let url = format!("http://{}/bytes/1000000", web.address());
    let page = left.command("curl").args(["--silent", "--fail", "--noproxy", "*", &url]).run()?.ok()?;
    assert_eq!(page.stdout.len(), 1_000_000);
    let seen = capture.stop()?.tcp().sent_to(&left);
    assert!(seen.iter().all(|packet| packet.frame.len() <= 1514), "segments are cut before they are captured");
    assert!(seen.len() >= 1_000_000 / 1448, "{}", seen.len());
    Ok(())
}

#[test]
fn a_saved_capture_is_read_back_the_same() -> Result<()> {
    let (_network, left, right) = pair()?;
    let capture = Capture::start(&left)?;
    let to = SocketAddr::from((right.v6(), 1));
    left.send_datagrams([(to, &b"six"[..])], A_WHILE)?;
    let seen = capture.stop()?.udp();
    seen.from_ip(left.v6()).to_address(to).holding(b"six").expect(1, "by IPv6")?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("seen.pcap");
    seen.save(&path)?;
    assert_eq!(Packets::read(&path)?.to_string(), seen.to_string());
    let words = ["-Z", "root", "-n", "-r"];
    let lines = Host::here().command("tcpdump").args(words).arg(&path).run()?.ok()?.says("UDP, length 3")?.out();
    assert_eq!(lines.lines().count(), 1, "{lines}");
    Ok(())
}

/// An independent witness. tcpdump as root only: it gives up its rights by calls that a user namespace refuses.
#[test]
fn tcpdump_agrees() -> Result<()> {
    let (_network, left, right) = pair()?;
    let is_root = Host::here().command("id").arg("-u").run()?.ok()?.out() == "0";
    if !is_root {
        eprintln!("skipped: an ordinary user can't run tcpdump in a namespace");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("tcpdump.pcap");
    let words = ["-Z", "root", "--immediate-mode", "-U", "-n", "-i", "eth0", "-w"];
    let mut tcpdump = right.command("tcpdump").args(words).arg(&file).spawn(dir.path().join("log"))?;
    tcpdump.wait_for_log("listening on", Duration::from_secs(10))?;
    let capture = Capture::start(&right)?;
    let to = SocketAddr::from((right.v4(), 4433));
    left.send_datagrams([(to, &[7; 1200][..]), (to, &b""[..]), (to, &[8; 5000][..])], A_WHILE)?;
    let ours = capture.stop()?;
    let both = |packets: &Packets| packets.without_housekeeping().len();
    vestibule_lab::until(Duration::from_secs(5), "tcpdump to have as many", || {
        Ok((both(&read_growing(&file)) >= both(&ours)).then_some(()))
    })?;
    tcpdump.signal(rustix::process::Signal::INT)?;
    assert_eq!(tcpdump.wait(Duration::from_secs(5))?, 0);
    let frames = |packets: &Packets| packets.without_housekeeping().iter().map(|p| p.frame.clone()).collect::<Vec<_>>();
    assert_eq!(frames(&Packets::read(&file)?), frames(&ours));
    // 1200 and 0 bytes in one packet each, 5000 in four fragments, of which the first has the ports.
    ours.sent_by(&left).udp().expect(3, "datagrams")?;
    ours.sent_by(&left).without_housekeeping().expect(6, "packets of left")
}

/// A file that is still being written may end within a packet.
fn read_growing(path: &Path) -> Packets {
    Packets::read(path).unwrap_or_default()
}
