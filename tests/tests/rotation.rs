//! Keys are rotated while people work (PROTOCOL.md §3.5), with the program as it is run: who is connected notices nothing, who
//! was away for a while learns with the next login, who was away for too long is told, or, by the controller, met with silence.

use std::time::Duration;
use vestibule_lab::{Context, Fixture, Person, Result, Role, Service, Upstream, until};

const SOON: Duration = Duration::from_secs(30);
const PORT: u16 = 7_000;

/// A network with a service, and three people: one connected, one who will come back, one who won't.
struct Scene {
    fixture: Fixture,
    alice: Person,
    bob: Person,
    carol: Person,
    _up: Role,
    _echo: Upstream,
}

impl Scene {
    fn new() -> Result<Self> {
        let fixture = Fixture::start()?;
        let inside = fixture.network.host("inside")?;
        let echo = Upstream::echo(&inside, fixture.dir())?;
        fixture.add_service("echo", Service::Tcp(echo.address()), &["everyone"])?;
        let [alice, bob, carol] = ["alice", "bob", "carol"].map(|user| fixture.add_person(user, &[]));
        let (alice, bob, carol) = (alice?, bob?, carol?);
        let up = alice.up(&[&format!("--forward=127.0.0.1:{PORT}=echo")])?;
        Ok(Self { fixture, alice, bob, carol, _up: up, _echo: echo })
    }

    /// Through the session that *alice* has: a line there and back.
    fn alice_works(&self) -> Result<()> {
        let script =
            format!("exec 3<>/dev/tcp/127.0.0.1/{PORT} && echo word >&3 && read -t 5 line <&3 && test $line = word");
        until(SOON, "alice's session to carry a line", || {
            let ran = self.alice.host.command("bash").arg("-c").arg(&script).run()?;
            Ok(ran.ok().is_ok().then_some(()))
        })
    }

    /// A session of its own, which ends at once.
    fn visit(&self, person: &Person) -> Result<()> {
        person.vestibule_with_password(&["why"])?.run()?.ok().map(drop)
    }
}

#[test]
fn the_gateways_key_is_rotated_under_open_sessions_and_kill_9() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.alice_works()?;
    let rotated = scene.fixture.at_gateway(&["gateway", "rotate", "--json"])?.run()?.ok()?.json()?;
    assert!(rotated["controller_has_it"] == true && rotated["former_until"].is_u64(), "{rotated}");
    scene.fixture.at_gateway(&["gateway", "rotate"])?.run()?.exits(2)?.says("a rotation is under way")?;
    scene.alice_works()?;
    scene.fixture.gateway.kill()?;
    scene.fixture.gateway.restart()?;
    scene.fixture.wait_linked()?;
    scene.alice_works()?;
    scene.visit(&scene.bob)?;

    scene.fixture.at_gateway(&["gateway", "rotate", "--finish"])?.run()?.ok()?.says("counts no more")?;
    scene.fixture.at_gateway(&["gateway", "rotate", "--finish"])?.run()?.exits(2)?.says("no rotation is under way")?;
    scene.alice_works()?;
    scene.visit(&scene.bob)?;
    let away = scene.carol.vestibule_with_password(&["why"])?.run()?;
    away.exits(22)?.says("the gateway has another key than this device knows")?;
    scene.carol.enroll(&scene.fixture.invite("carol")?)?.arg("--replace").run()?.ok()?;
    scene.visit(&scene.carol)?;

    let audit = scene.fixture.at_gateway(&["audit", "--json"])?.run()?.ok()?.json()?;
    let rotations = audit.as_array().context("a list")?.iter().filter(|entry| entry["kind"] == "key-rotated").count();
    assert_eq!(rotations, 2, "{audit}");
    Ok(())
}

/// The owner of a gateway that does not run: the controller learns when it does, devices when they come.
#[test]
fn a_gateway_that_is_down_is_given_another_key() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.fixture.gateway.terminate()?;
    for wrong in [&["--keep=soon"][..], &["--now", "--finish"], &["--now", "--keep=1d"], &["--finish", "--keep=1d"]] {
        scene.fixture.at_gateway(&[&["gateway", "rotate"], wrong].concat())?.run()?.exits(2)?;
    }
    let rotated = scene.fixture.at_gateway(&["gateway", "rotate", "--keep=1d", "--json"])?.run()?.ok()?.json()?;
    assert!(rotated["controller_has_it"] == false, "{rotated}");
    scene.fixture.gateway.restart()?;
    scene.fixture.wait_linked()?;
    scene.alice_works()?;
    scene.visit(&scene.bob)?;
    // It was stolen meanwhile: who has not learnt the newest yet does not come in any more.
    let newest = scene.fixture.at_gateway(&["gateway", "rotate", "--now", "--json"])?.run()?.ok()?.json()?;
    assert!(newest["controller_has_it"] == true && newest["former_until"].is_null(), "{newest}");
    scene.alice_works()?;
    for away in [&scene.bob, &scene.carol] {
        away.vestibule_with_password(&["why"])?.run()?.exits(22)?.says("another key")?;
    }
    Ok(())
}

#[test]
fn the_realm_key_is_rotated_under_open_sessions_and_kill_9() -> Result<()> {
    let mut scene = Scene::new()?;
    let rotated = scene.fixture.at_controller(&["controller", "rotate", "--json"])?.run()?.ok()?.json()?;
    assert!(rotated["epoch"] == 1 && rotated["told"] == serde_json::json!(["lab"]), "{rotated}");
    scene.alice_works()?;
    scene.fixture.controller.kill()?;
    scene.fixture.gateway.kill()?;
    scene.fixture.controller.restart()?;
    scene.fixture.gateway.restart()?;
    scene.fixture.wait_linked()?;
    scene.alice_works()?;
    scene.visit(&scene.bob)?;
    scene.fixture.at_controller(&["controller", "rotate", "--finish"])?.run()?.ok()?.says("it alone counts")?;
    scene.visit(&scene.bob)?;
    scene.carol.vestibule_with_password(&["why"])?.run()?.exits(20)?.says("rotated")?;
    Ok(())
}

/// The controller's owner forgot the gateway by mistake: people, devices and services stay, and it is linked anew under its id.
#[test]
fn a_gateway_that_was_removed_is_linked_anew_and_its_devices_notice_nothing() -> Result<()> {
    let mut scene = Scene::new()?;
    let status = scene.fixture.at_gateway(&["--json", "gateway", "status"])?.run()?.ok()?.json()?;
    let id = status["gateway"].as_str().context("an id")?.to_owned();
    let gateways = scene.fixture.at_controller(&["controller", "gateways"])?.run()?.ok()?;
    gateways.says(&id)?;
    scene
        .fixture
        .at_controller(&["controller", "invite", "lab"])?
        .run()?
        .exits(43)?
        .says(&format!("--gateway {id}"))?;
    scene.fixture.at_controller(&["controller", "remove", "lab"])?.run()?.ok()?;
    scene.fixture.gateway.terminate()?;

    // A link for a new gateway does not do.
    let new = scene.fixture.at_controller(&["controller", "invite", "another"])?.run()?.ok()?.out();
    let refused = scene.fixture.at_gateway(&["gateway", "relink", &new])?.run()?.exits(50)?;
    refused.says(&format!("vestibule controller invite lab --gateway {id}"))?;
    let link = scene.fixture.at_controller(&["controller", "invite", "lab", "--gateway", &id])?.run()?.ok()?.out();
    scene.fixture.at_gateway(&["gateway", "relink", &link])?.run()?.ok()?.says("links anew")?;
    scene.fixture.controller.kill()?;
    scene.fixture.controller.restart()?;
    scene.fixture.gateway.restart()?;
    until(SOON, "the gateway's link", || {
        let list = scene.fixture.at_controller(&["--json", "controller", "gateways"])?.run()?.ok()?.json()?;
        let linked =
            list.as_array().is_some_and(|list| list.iter().any(|one| one["name"] == "lab" && one["linked"] == true));
        Ok(linked.then_some(()))
    })?;
    scene.alice_works()?;
    scene.visit(&scene.bob)?;

    // One that is linked can be linked anew as well; until then its own keys count.
    let link = scene.fixture.at_controller(&["controller", "invite", "lab", "--gateway", &id])?.run()?.ok()?.out();
    scene.visit(&scene.carol)?;
    scene.fixture.gateway.terminate()?;
    scene.fixture.at_gateway(&["gateway", "relink", &link])?.run()?.ok()?;
    scene.fixture.gateway.restart()?;
    scene.alice_works()?;
    scene.visit(&scene.carol)
}
