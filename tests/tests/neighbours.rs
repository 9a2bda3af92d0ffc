//! Other users of a person's machine: its local ports are open to them, and serve them nothing.

use std::time::Duration;
use vestibule_lab::{Fixture, Host, Invocation, Person, Result, Service, Upstream, until};
use vestibule_scenarios::installed;

const UP: [&str; 3] = ["--forward=127.0.0.1:7000=echo", "--http=127.0.0.1:8118", "--socks=127.0.0.1:1080"];

fn scene() -> Result<(Fixture, Upstream, Person)> {
    let fixture = Fixture::start()?;
    let inside = fixture.network.host("inside")?;
    let echo = Upstream::echo(&inside, fixture.dir())?;
    fixture.add_service("echo", Service::Tcp(echo.address()), &["everyone"])?;
    let alice = fixture.add_person("alice", &[])?;
    Ok((fixture, echo, alice))
}

/// What a program on the person's machine reads from a local port after it has said `word`; another user's program if `stranger`.
fn read_from(person: &Person, port: u16, word: &str, stranger: bool) -> Result<String> {
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{port} && printf '{word}' >&3 && timeout 5 dd bs=4 count=1 <&3 2>&- | od -An -c"
    );
    let asked = if stranger { as_nobody(person, "bash")? } else { person.host.command("bash") };
    Ok(asked.arg("-c").arg(script).run()?.out().split_whitespace().collect())
}

/// A program of the user `nobody`, for the kernel, too: a user namespace would only give the same user another name.
fn as_nobody(person: &Person, program: &str) -> Result<Invocation> {
    let words = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    Ok(person.host.command(installed("setpriv", "util-linux")?).args(words).arg(program))
}

fn turned_away(person: &Person) -> Result<Option<u64>> {
    Ok(person.vestibule(&["status", "--json"])?.run()?.ok()?.json()?["turned_away"].as_u64())
}

#[test]
fn another_users_programs_get_nothing_from_the_local_ports() -> Result<()> {
    if Host::here().command("id").arg("-u").run()?.ok()?.out() != "0" {
        eprintln!("skipped: only root can run another user's programs");
        return Ok(());
    }
    let (_fixture, echo, alice) = scene()?;
    let stranger = as_nobody(&alice, "id")?.arg("-u").run()?.ok()?.out();
    assert_ne!(stranger, alice.host.command("id").arg("-u").run()?.ok()?.out(), "another user");
    let mut up = alice.up(&UP)?;
    until(Duration::from_secs(5), "her own programs to be served", || {
        Ok((read_from(&alice, 7000, "ping\\n", false)? == "ping").then_some(()))
    })?;
    let (served, before) = (echo.accepted(), turned_away(&alice)?.unwrap_or_default());
    assert_eq!(read_from(&alice, 1080, "\\x05\\x01\\x00", false)?, "005\\0");
    for (port, word) in [(7000, "ping\\n"), (1080, "\\x05\\x01\\x00"), (8118, "GET / HTTP/1.1\\r\\n\\r\\n")] {
        assert_eq!(read_from(&alice, port, word, true)?, "", "at port {port}");
    }
    assert_eq!(turned_away(&alice)?, Some(before + 3));
    assert_eq!(echo.accepted(), served);
    alice.vestibule(&["status"])?.run()?.ok()?.says("of other users")?;
    assert_eq!(up.terminate()?, 0);

    // A port that is shared on purpose.
    let _up = alice.up(&[&UP[..], &["--any-local-user"]].concat())?;
    assert_eq!(read_from(&alice, 7000, "ping\\n", true)?, "ping");
    assert_eq!(turned_away(&alice)?, Some(0));
    Ok(())
}
