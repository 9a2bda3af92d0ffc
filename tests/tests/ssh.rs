//! OpenSSH through the doors: `ssh` and `scp` with `ProxyCommand vestibule pipe`.

use std::fs;
use std::io::Write;
use std::time::Duration;
use vestibule_lab::{Context, Fixture, Person, Result, Service, program};
use vestibule_scenarios::Sshd;

const PASSED: &str = "through two doors";

fn proxy(person: &Person) -> Result<String> {
    Ok(format!("{} pipe --dir={} %h:%p", program()?.display(), person.dir().display()))
}

#[test]
fn ssh_through_a_running_up_asks_for_no_password() -> Result<()> {
    let fixture = Fixture::start()?;
    let inside = fixture.network.host("inside")?;
    let sshd = Sshd::start(&inside, fixture.dir())?;
    fixture.add_service("host1", Service::Tcp(sshd.address()), &["group:ops"])?;
    let alice = fixture.add_person("alice", &["ops"])?;
    let _up = alice.up(&[])?;

    let address = sshd.address();
    let destination = format!("ssh://{}@{}:{}", sshd.user(), address.ip(), address.port());
    let ran =
        sshd.client("ssh", &alice.host, &proxy(&alice)?)?.arg(&destination).arg(format!("echo {PASSED}")).run()?;
    ran.ok()?.says(PASSED)?;

    // By the service's name, which is all that a person has to know.
    let by_name = format!("{} pipe --dir={} %h", program()?.display(), alice.dir().display());
    let destination = format!("{}@host1", sshd.user());
    let ran = sshd.client("ssh", &alice.host, &by_name)?.arg(destination).arg(format!("echo {PASSED}")).run()?;
    ran.ok()?.says(PASSED)?;
    Ok(())
}

#[test]
fn ssh_without_up_lets_askpass_ask() -> Result<()> {
    let fixture = Fixture::start()?;
    let inside = fixture.network.host("inside")?;
    let sshd = Sshd::start(&inside, fixture.dir())?;
    fixture.add_service("host1", Service::Tcp(sshd.address()), &["everyone"])?;
    let alice = fixture.add_person("alice", &[])?;

    let askpass = fixture.dir().join("askpass");
    fs::write(&askpass, format!("#!/bin/sh\necho '{}'\n", alice.password))?;
    fs::set_permissions(&askpass, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    let address = sshd.address();
    let destination = format!("ssh://{}@{}:{}", sshd.user(), address.ip(), address.port());
    let proxy = format!("{} --askpass={}", proxy(&alice)?, askpass.display());
    let ran = sshd.client("ssh", &alice.host, &proxy)?.arg(&destination).arg(format!("echo {PASSED}")).run()?;
    ran.ok()?.says(PASSED)?;
    Ok(())
}

#[test]
fn a_person_without_a_grant_gets_no_ssh() -> Result<()> {
    let fixture = Fixture::start()?;
    let inside = fixture.network.host("inside")?;
    let sshd = Sshd::start(&inside, fixture.dir())?;
    fixture.add_service("host1", Service::Tcp(sshd.address()), &["group:ops"])?;
    let mallory = fixture.add_person("mallory", &["sales"])?;
    let _up = mallory.up(&[])?;
    let target = sshd.address().to_string();
    mallory.vestibule(&["pipe", &target])?.run()?.exits(30)?;
    Ok(())
}

#[test]
fn scp_carries_100_megabytes_unchanged() -> Result<()> {
    let fixture = Fixture::start()?;
    let inside = fixture.network.host("inside")?;
    let sshd = Sshd::start(&inside, fixture.dir())?;
    fixture.add_service("host1", Service::Tcp(sshd.address()), &["everyone"])?;
    let alice = fixture.add_person("alice", &[])?;
    let _up = alice.up(&[])?;

    let (original, up, down) = (fixture.dir().join("original"), fixture.dir().join("up"), fixture.dir().join("down"));
    let mut file = fs::File::create(&original)?;
    // Not compressible, not periodic: a generator of Marsaglia's xorshift family.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut block = Vec::with_capacity(1 << 20);
    for _ in 0..100 {
        block.clear();
        for _ in 0..(1 << 17) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            block.extend_from_slice(&state.to_le_bytes());
        }
        file.write_all(&block)?;
    }
    let address = sshd.address();
    let remote = |path: &std::path::Path| {
        format!("scp://{}@{}:{}/{}", sshd.user(), address.ip(), address.port(), path.display())
    };
    let limit = Duration::from_secs(180);
    let scp = || sshd.client("scp", &alice.host, &proxy(&alice)?).map(|scp| scp.within(limit));
    scp()?.arg(&original).arg(remote(&up)).run()?.ok()?;
    scp()?.arg(remote(&up)).arg(&down).run()?.ok()?;

    let sums = inside.command("sha256sum").arg(&original).arg(&up).arg(&down).run()?.ok()?.out();
    let sums: Vec<&str> = sums.lines().map(|line| line.split(' ').next().unwrap_or("")).collect();
    let [first, second, third] = sums[..] else { return None.context("three checksums") };
    assert_eq!(first.len(), 64);
    assert_eq!((first, first), (second, third), "the file was changed on its way");
    Ok(())
}
