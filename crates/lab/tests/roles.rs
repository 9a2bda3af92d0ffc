//! Roles: ready when they say so, and under control. A shell script stands for the program.

use std::{net::SocketAddr, time::Duration};

use vestibule_lab::{Host, Result, Role, RoleCommand, Upstream, until};

/// Says that it is ready as `systemd-notify` does, which Debian's systemd brings; the lab itself needs no systemd.
const READY: &str = r#"perl -MIO::Socket::UNIX -e '
    my $s = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Peer => $ENV{NOTIFY_SOCKET}) or die; $s->send("STATUS=serving\nREADY=1")'"#;

fn script(text: &str) -> RoleCommand {
    let argv = ["sh", "-c", text].map(str::to_owned).into();
    RoleCommand {
        name: "script".into(),
        argv,
        env: vec![("GREETING".into(), "hello".into())],
        stdin: "password\n".into(),
    }
}

#[test]
fn a_role_is_ready_when_it_says_so_and_starts_again_after_a_kill() -> Result<()> {
    let (host, dir) = (Host::solitary("one")?, tempfile::tempdir()?);
    let text = format!("trap 'exit 3' TERM; read word; echo $GREETING $word; {READY}; while :; do sleep 0.05; done");
    let mut role = Role::start(&host, dir.path(), script(&text))?;
    assert_eq!(role.status(), Some("serving"));
    role.wait_for_log("hello password", Duration::from_secs(1))?;
    let first = role.pid();
    role.kill()?;
    assert!(!role.is_running()?);
    role.restart()?;
    assert_ne!(role.pid(), first);
    assert_eq!(role.log().matches("hello password").count(), 2, "the log goes on");
    assert_eq!(role.terminate()?, 3);
    Ok(())
}

#[test]
fn a_role_that_ends_before_it_is_ready_shows_its_log() -> Result<()> {
    let (host, dir) = (Host::solitary("one")?, tempfile::tempdir()?);
    let failure = Role::start(&host, dir.path(), script("echo the disk is full >&2; exit 41")).err().expect("no role");
    assert!(failure.to_string().contains("the disk is full"), "{failure}");
    Ok(())
}

#[test]
fn upstreams_answer_as_their_kind_says() -> Result<()> {
    let (host, dir) = (Host::solitary("services")?, tempfile::tempdir()?);
    let mut ticking = Upstream::ticking(&host, dir.path())?;
    assert!(host.tcp_probe(ticking.address())?.expect("open").starts_with(b"0\n"));
    ticking.kill()?;
    assert!(host.tcp_probe(ticking.address())?.is_err(), "closed");

    let hanging = Upstream::hanging(&host, dir.path())?;
    assert_eq!(host.tcp_probe(hanging.address())?, Ok(Vec::new()));

    let web = Upstream::web(&host, dir.path())?;
    let get = |path: &str| {
        host.command("curl")
            .args(["--silent", "--fail", "--noproxy", "*"])
            .arg(format!("http://{}{path}", web.address()))
    };
    get("/").run()?.ok()?.says("Vestibule lab")?;
    get("/bytes/12").arg("--data").arg("ignored").run()?.ok()?.says("vvvvvvvvvvvv")?;
    get("/other").run()?.exits(22)?;
    until(Duration::from_secs(2), "three connections", || Ok((web.accepted() == 3).then_some(())))
}

#[test]
fn a_stranger_hears_who_answers() -> Result<()> {
    let (host, dir) = (Host::solitary("talker")?, tempfile::tempdir()?);
    let answer = r#"use IO::Socket::INET; $s = IO::Socket::INET->new(Proto => "udp", LocalAddr => "127.0.0.1:5000"); $| = 1;
        print "bound\n"; while (defined $s->recv($d, 9000)) { $s->send(scalar reverse $d) }"#;
    let mut talker = host.command("perl").args(["-e", answer]).spawn(dir.path().join("log"))?;
    talker.wait_for_log("bound", Duration::from_secs(5))?;
    let (open, closed): (SocketAddr, SocketAddr) = ("127.0.0.1:5000".parse()?, "127.0.0.1:5001".parse()?);
    let replies =
        host.send_datagrams([(closed, &b"x"[..]), (open, b"abc"), (open, b"")], Duration::from_millis(200))?;
    assert_eq!(replies.iter().map(|reply| reply.bytes.as_slice()).collect::<Vec<_>>(), [&b"cba"[..], b""]);
    assert!(replies.iter().all(|reply| reply.from == open));
    assert!(host.send_datagrams_from(5000, [(open, &b"x"[..])], Duration::ZERO).is_err(), "the port is taken");
    Ok(())
}
