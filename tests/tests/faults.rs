//! Parts that are away, killed or full: each has its message and exit code, what ran goes on, and nothing opens because something else
//! failed (P10).

use std::fs;
use std::time::Duration;
use vestibule_lab::{Context, Fixture, Host, Person, Result, Service, Upstream, program, until};

/// A fixture with an echo service for everybody, and one person.
struct Scene {
    fixture: Fixture,
    inside: Host,
    echo: Upstream,
    alice: Person,
}

fn scene() -> Result<Scene> {
    let fixture = Fixture::start()?;
    let inside = fixture.network.host("inside")?;
    let echo = Upstream::echo(&inside, fixture.dir())?;
    fixture.add_service("echo", Service::Tcp(echo.address()), &["everyone"])?;
    let alice = fixture.add_person("alice", &[])?;
    Ok(Scene { fixture, inside, echo, alice })
}

/// Sends a word through a local forward and gives back what came.
fn through(person: &Person, port: u16, word: &str) -> Result<String> {
    let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port} && echo '{word}' >&3 && timeout 5 head -n 1 <&3");
    Ok(person.host.command("bash").arg("-c").arg(script).run()?.out())
}

fn comes_through(person: &Person, port: u16, within: Duration) -> Result<()> {
    until(within, "traffic through the tunnel", || Ok((through(person, port, "hello")? == "hello").then_some(())))
}

#[test]
fn without_a_controller_nothing_opens_and_sessions_go_on() -> Result<()> {
    let Scene { mut fixture, inside: _inside, echo: _echo, alice } = scene()?;
    let _up = alice.up(&["--forward=127.0.0.1:7000=echo"])?;
    comes_through(&alice, 7000, Duration::from_secs(5))?;
    fixture.controller.kill()?;
    comes_through(&alice, 7000, Duration::from_secs(5))?;
    alice.vestibule_with_password(&["pipe", "echo", "--alone"])?.run()?.exits(20)?.says("controller")?;
    fixture.controller.restart()?;
    fixture.wait_linked()?;
    alice.vestibule_with_password(&["pipe", "echo", "--alone"])?.run()?.ok()?;
    comes_through(&alice, 7000, Duration::from_secs(5))
}

#[test]
fn a_gateway_that_is_away_has_its_own_message() -> Result<()> {
    let Scene { mut fixture, inside: _inside, echo: _echo, alice } = scene()?;
    assert_eq!(fixture.gateway.terminate()?, 0, "a gateway ends gracefully on SIGTERM");
    alice.vestibule_with_password(&["pipe", "echo", "--alone"])?.run()?.exits(21)?.says("gateway")?;
    Ok(())
}

#[test]
fn a_killed_gateway_comes_back_and_the_client_reconnects_by_itself() -> Result<()> {
    let Scene { mut fixture, inside: _inside, echo: _echo, alice } = scene()?;
    let mut up = alice.up(&["--forward=127.0.0.1:7000=echo"])?;
    comes_through(&alice, 7000, Duration::from_secs(5))?;
    fixture.gateway.restart()?;
    comes_through(&alice, 7000, Duration::from_secs(60))?;
    assert!(up.is_running()?);
    let status = alice.vestibule(&["status", "--json"])?.run()?.ok()?.json()?;
    assert!(status["resumptions"].as_u64() >= Some(1), "{status}");
    Ok(())
}

#[test]
fn a_controller_killed_between_admission_and_ready_costs_only_a_repetition() -> Result<()> {
    let Scene { mut fixture, inside: _inside, echo: _echo, alice } = scene()?;
    fixture.gateway.freeze()?;
    let connecting = alice.vestibule_with_password(&["pipe", "echo", "--alone"])?;
    let log = fixture.dir().join("connecting.log");
    let mut connecting = connecting.spawn(&log)?;
    // Long enough for Argon2id and the knock: the controller now waits for the gateway's answer.
    until(Duration::from_secs(20), "the knock to be accepted", || {
        let status = fixture.at_controller(&["controller", "status", "--json"])?.run()?.ok()?.json()?;
        let accepted = status["counters"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|counter| counter[0] == "knocks.accepted" && counter[1].as_u64() >= Some(2));
        Ok(accepted.then_some(()))
    })?;
    fixture.controller.kill()?;
    fixture.gateway.resume()?;
    fixture.controller.restart()?;
    // In, or an honest word: the gateway's new link may not stand yet when the client asks again.
    let code = connecting.wait(Duration::from_secs(40))?;
    assert!(matches!(code, 0 | 21), "{code}: {}", connecting.log());
    until(Duration::from_secs(20), "a connect after the restart", || {
        let ran = alice.vestibule_with_password(&["pipe", "echo", "--alone"])?.run()?;
        Ok((ran.code() == Some(0)).then_some(()))
    })
}

#[test]
fn an_upstream_that_is_away_and_one_that_hangs_are_told_apart() -> Result<()> {
    let Scene { fixture, inside, mut echo, alice } = scene()?;
    echo.kill()?;
    alice.vestibule_with_password(&["pipe", "echo", "--alone"])?.run()?.exits(31)?.says("echo")?;

    // An address whose packets go to a machine that takes none of them: no answer of any kind.
    let address = std::net::SocketAddr::from((inside.v4(), 9));
    let silent = "02:00:00:00:be:ef";
    let neighbour = format!("ip neigh replace {} lladdr {silent} dev eth0 nud permanent", address.ip());
    fixture.gateway.host().command("sh").arg("-c").arg(neighbour).run()?.ok()?;
    fixture.add_service("silent", Service::Tcp(address), &["everyone"])?;
    let ran = alice.vestibule_with_password(&["pipe", "silent", "--alone"])?.run()?;
    ran.exits(32)?.says("silent")?;
    Ok(())
}

#[test]
fn what_is_no_service_is_told_like_what_is_not_granted() -> Result<()> {
    let Scene { fixture, inside, echo: _echo, alice } = scene()?;
    let secret = Upstream::echo(&inside, fixture.dir())?;
    fixture.add_service("secret", Service::Tcp(secret.address()), &["group:chiefs"])?;
    let denied = alice.vestibule_with_password(&["pipe", "secret", "--alone"])?.run()?.exits(30)?;
    let absent = alice.vestibule_with_password(&["pipe", "absent", "--alone"])?.run()?.exits(30)?;
    let told = |ran: &vestibule_lab::Ran, name: &str| -> Vec<String> {
        let lines = ran.err();
        lines.lines().filter(|line| !line.contains("WARN")).map(|line| line.replace(name, "X")).collect()
    };
    assert_eq!(told(&denied, "secret"), told(&absent, "absent"));
    assert_eq!(secret.accepted(), 0);
    Ok(())
}

#[test]
fn a_full_disk_admits_nobody_and_says_so() -> Result<()> {
    let Scene { mut fixture, inside: _inside, echo: _echo, alice } = scene()?;
    // The gateway's directory on a disk that is full to the last byte.
    let dir = fixture.gateway_dir();
    let saved = fixture.dir().join("saved");
    let host = fixture.gateway.host().clone();
    assert_eq!(fixture.gateway.terminate()?, 0);
    host.command("cp").args(["-a"]).arg(&dir).arg(&saved).run()?.ok()?;
    host.mount_small(&dir, 32 << 20)?;
    host.command("sh")
        .arg("-c")
        .arg(format!("chmod 700 {d}; cp -a {s}/. {d}/", d = dir.display(), s = saved.display()))
        .run()?
        .ok()?;
    fixture.gateway.restart()?;
    until(Duration::from_secs(20), "the gateway to admit", || {
        let ran = alice.vestibule_with_password(&["pipe", "echo", "--alone"])?.run()?;
        Ok((ran.code() == Some(0)).then_some(()))
    })?;
    let fill = format!("dd if=/dev/zero of={}/fill bs=4k 2>/dev/null; true", dir.display());
    host.command("sh").arg("-c").arg(fill).run()?.ok()?;
    let refused = alice.vestibule_with_password(&["pipe", "echo", "--alone"])?.run()?;
    assert!(matches!(refused.code(), Some(21 | 22)), "{:?}: {}", refused.code(), refused.err());
    fixture.gateway.wait_for_log("no space left", Duration::from_secs(10))?;
    host.command("rm").arg(dir.join("fill")).run()?.ok()?;
    until(Duration::from_secs(20), "the gateway to admit again", || {
        let ran = alice.vestibule_with_password(&["pipe", "echo", "--alone"])?.run()?;
        Ok((ran.code() == Some(0)).then_some(()))
    })
}

#[test]
fn a_full_disk_of_the_controllers_keeps_nobody_out() -> Result<()> {
    let Scene { mut fixture, inside: _inside, echo: _echo, alice } = scene()?;
    let (dir, saved) = (fixture.controller_dir(), fixture.dir().join("saved"));
    let host = fixture.controller.host().clone();
    assert_eq!(fixture.controller.terminate()?, 0);
    host.command("cp").arg("-a").arg(&dir).arg(&saved).run()?.ok()?;
    host.mount_small(&dir, 8 << 20)?;
    let refill = format!("chmod 700 {d}; cp -a {s}/. {d}/", d = dir.display(), s = saved.display());
    host.command("sh").arg("-c").arg(refill).run()?.ok()?;
    fixture.controller.restart()?;
    fixture.wait_linked()?;
    let fill = format!("dd if=/dev/zero of={}/fill bs=4k 2>/dev/null; true", dir.display());
    host.command("sh").arg("-c").arg(fill).run()?.ok()?;
    let more = format!("of={}/more", dir.display());
    host.command("dd").args(["if=/dev/zero", "bs=4k", "count=1", &more]).run()?.exits(1)?.says("No space left")?;
    // The knock path writes nothing: one after the other comes in.
    for _ in 0..3 {
        alice.vestibule_with_password(&["pipe", "echo", "--alone"])?.run()?.ok()?;
    }
    Ok(())
}

#[test]
fn a_frozen_gateways_link_is_told_down_and_the_client_is_told_that_it_is_away() -> Result<()> {
    let Scene { mut fixture, inside: _inside, echo: _echo, alice } = scene()?;
    fixture.gateway.freeze()?;
    // A ping each 15 s, 5 s for its answer.
    fixture.controller.wait_for_log("the gateway's link is down", Duration::from_secs(30))?;
    alice.vestibule_with_password(&["pipe", "echo", "--alone"])?.run()?.exits(21)?.says("gateway")?;
    fixture.gateway.resume()?;
    until(Duration::from_secs(60), "a connect after the thaw", || {
        let ran = alice.vestibule_with_password(&["pipe", "echo", "--alone"])?.run()?;
        Ok((ran.code() == Some(0)).then_some(()))
    })
}

#[test]
fn a_device_enrolled_into_a_read_only_directory_is_told_and_the_invitation_stays_open() -> Result<()> {
    let Scene { fixture, .. } = scene()?;
    fixture.add_user("bert", &[])?;
    let (link, bert) = (fixture.invite("bert")?, fixture.add_device("bert", "bert")?);
    let above = bert.dir().parent().context("a directory above the client's")?;
    bert.host.mount_read_only(above)?;
    bert.enroll(&link)?.run()?.exits(41)?.says("read-only")?;
    bert.host.unmount(above)?;
    bert.enroll(&link)?.run()?.ok()?;
    Ok(())
}

#[test]
fn read_only_data_directories_are_told_at_the_start() -> Result<()> {
    let Scene { mut fixture, .. } = scene()?;
    let (controller, gateway) = (fixture.controller_dir(), fixture.gateway_dir());
    fixture.gateway.terminate()?;
    fixture.controller.terminate()?;
    for (host, role, dir) in
        [(fixture.controller.host(), "controller", &controller), (fixture.gateway.host(), "gateway", &gateway)]
    {
        host.mount_read_only(dir)?;
        let run = host.command(program()?).args([role, "run"]).arg(format!("--dir={}", dir.display()));
        run.run()?.exits(41)?.says("read-only")?;
    }
    Ok(())
}

#[test]
fn a_second_role_in_the_same_directory_is_refused() -> Result<()> {
    let Scene { fixture, .. } = scene()?;
    fixture.at_controller(&["controller", "run"])?.run()?.exits(42)?.says("running")?;
    fixture.at_gateway(&["gateway", "run"])?.run()?.exits(42)?.says("running")?;
    Ok(())
}

#[test]
fn two_users_sessions_never_mix() -> Result<()> {
    let fixture = Fixture::start()?;
    let inside = fixture.network.host("inside")?;
    let (one, two) = (Upstream::echo(&inside, fixture.dir())?, Upstream::echo(&inside, fixture.dir())?);
    fixture.add_service("one", Service::Tcp(one.address()), &["user:alice"])?;
    fixture.add_service("two", Service::Tcp(two.address()), &["user:bert"])?;
    let (alice, bert) = (fixture.add_person("alice", &[])?, fixture.add_person("bert", &[])?);
    let _alices = alice.up(&["--forward=127.0.0.1:7000=one"])?;
    let _berts = bert.up(&["--forward=127.0.0.1:7000=two"])?;
    for round in 0..5 {
        for (person, other) in [(&alice, "two"), (&bert, "one")] {
            let word = format!("word{round} of {}", person.user);
            assert_eq!(through(person, 7000, &word)?, word);
            person.vestibule(&["pipe", other])?.run()?.exits(30)?;
        }
    }
    assert_eq!((one.accepted(), two.accepted()), (5, 5));
    let services = |person: &Person| -> Result<Vec<String>> {
        let list = person.vestibule(&["services", "--json"])?.run()?.ok()?.json()?;
        Ok(list.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str().map(str::to_owned)).collect())
    };
    assert_eq!(services(&alice)?, ["one"]);
    assert_eq!(services(&bert)?, ["two"]);
    Ok(())
}

#[test]
fn configuration_is_reloaded_without_dropping_sessions_and_a_wrong_one_is_not_taken() -> Result<()> {
    let Scene { mut fixture, inside, echo: _echo, alice } = scene()?;
    let late = Upstream::echo(&inside, fixture.dir())?;
    let _up = alice.up(&["--forward=127.0.0.1:7000=echo"])?;
    let late_opens = |within: u64| {
        until(Duration::from_secs(within), "the late service", || {
            Ok((alice.vestibule(&["pipe", "late"])?.run()?.code() == Some(0)).then_some(()))
        })
    };
    alice.vestibule(&["pipe", "late"])?.run()?.exits(30)?;
    comes_through(&alice, 7000, Duration::from_secs(5))?;
    let file = fixture.gateway_dir().join("gateway.toml");
    let before = fs::read_to_string(&file)?;

    fs::write(&file, format!("{before}\n[services.late]\ntcp = \"{}\"\nallow = [\"everyone\"]\n", late.address()))?;
    fixture.gateway.reload()?;
    late_opens(10)?;
    comes_through(&alice, 7000, Duration::from_secs(5))?;

    fs::write(&file, format!("{before}\n[services.late]\ntpc = \"nonsense\"\n"))?;
    fixture.gateway.reload()?;
    fixture.gateway.wait_for_log("there is no key `tpc`", Duration::from_secs(10))?;
    late_opens(5)?;

    // Without a signal: the file alone is enough.
    fs::write(&file, &before)?;
    until(Duration::from_secs(15), "the service to vanish", || {
        Ok((alice.vestibule(&["pipe", "late"])?.run()?.code() == Some(30)).then_some(()))
    })?;
    comes_through(&alice, 7000, Duration::from_secs(5))?;
    let status = alice.vestibule(&["status", "--json"])?.run()?.ok()?.json()?;
    assert_eq!(status["resumptions"], 0, "no session was dropped: {status}");
    Ok(())
}
