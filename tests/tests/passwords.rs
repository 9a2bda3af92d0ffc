//! A person changes the password: new keys come with it, and the former ones end with the change (PROTOCOL 3.2).

use std::fs;
use vestibule_lab::{Capture, Fixture, Invocation, Person, Result, Service, Upstream};

const NEW: &str = "granite-otter-17";

fn passwd(person: &Person, words: &[&str], typed: &[&str]) -> Result<Invocation> {
    let mut all = vec!["passwd", "--password-stdin"];
    all.extend(words);
    Ok(person.vestibule(&all)?.stdin(typed.join("\n") + "\n"))
}

fn pipe(person: &Person, password: &str) -> Result<Invocation> {
    Ok(person.vestibule(&["pipe", "echo", "--alone", "--password-stdin"])?.stdin(format!("{password}\n")))
}

/// A pipe through a running `up` needs no password; one that was announced on stdin is not the service's either.
#[test]
fn a_password_on_stdin_reaches_no_service() -> Result<()> {
    let fixture = Fixture::start()?;
    let inside = fixture.network.host("inside")?;
    let echo = Upstream::echo(&inside, fixture.dir())?;
    fixture.add_service("echo", Service::Tcp(echo.address()), &["everyone"])?;
    let alice = fixture.add_person("alice", &[])?;
    let echoed = || -> Result<String> {
        let pipe = alice.vestibule_with_password(&["pipe", "echo"])?;
        Ok(pipe.stdin(format!("{}\nhello\n", alice.password)).run()?.ok()?.out())
    };
    assert_eq!(echoed()?, "hello", "by a session of its own");
    let _up = alice.up(&[])?;
    assert_eq!(echoed()?, "hello", "through the running one");
    Ok(())
}

#[test]
fn a_changed_password_opens_and_the_former_one_does_not() -> Result<()> {
    let mut fixture = Fixture::start()?;
    fixture.notice_typos()?;
    let inside = fixture.network.host("inside")?;
    let echo = Upstream::echo(&inside, fixture.dir())?;
    fixture.add_service("echo", Service::Tcp(echo.address()), &["everyone"])?;
    let alice = fixture.add_person("alice", &[])?;

    // What can be refused here is refused here.
    let capture = Capture::start(&alice.host)?;
    passwd(&alice, &[], &["quite another password", NEW])?.run()?.exits(10)?;
    passwd(&alice, &[], &[&alice.password, "password1"])?.run()?.exits(51)?;
    capture
        .stop()?
        .sent_by(&alice.host)
        .without_housekeeping()
        .expect_none("a change that was refused on the device")?;

    // Sessions of the former keys would end: nobody is surprised by that.
    let mut up = alice.up(&[])?;
    passwd(&alice, &[], &[&alice.password, NEW])?.run()?.exits(42)?.says("down")?;
    assert_eq!(up.terminate()?, 0);

    passwd(&alice, &[], &[&alice.password, NEW])?.run()?.ok()?;
    pipe(&alice, &alice.password)?.run()?.exits(10)?;
    pipe(&alice, NEW)?.run()?.ok()?;
    let devices = fixture.at_gateway(&["device", "list", "--json"])?.run()?.ok()?.json()?;
    let states: Vec<_> = devices.as_array().into_iter().flatten().map(|device| device["state"].clone()).collect();
    assert_eq!(states, ["revoked", "active"], "{devices}");
    let audit = fixture.at_gateway(&["audit"])?.run()?.ok()?.out();
    assert!(audit.contains("replaced by the device"), "{audit}");

    // The same password once more, under keys of its own.
    let credential = fs::read_dir(alice.dir())?.flatten().map(|entry| entry.path());
    let credential = credential.into_iter().find(|path| path.extension().is_some_and(|end| end == "credential"));
    let before = credential.as_ref().map(fs::read).transpose()?;
    passwd(&alice, &["--keep-password"], &[NEW])?.run()?.ok()?;
    assert_ne!(credential.as_ref().map(fs::read).transpose()?, before);
    pipe(&alice, NEW)?.run()?.ok()?;
    Ok(())
}
