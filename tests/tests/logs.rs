//! Logs as JSON: whatever a role says, each line of it is for a program to read.

use vestibule_lab::{Context, Fixture, Result, Service, Upstream};

#[test]
fn every_line_of_a_json_log_is_json() -> Result<()> {
    let mut fixture = Fixture::start()?;
    let as_json = |text: String| text.replace("format = \"human\"", "format = \"json\"");
    let (gateway, controller) = (fixture.gateway.log().len(), fixture.controller.log().len());
    fixture.configure_controller(as_json)?;
    // What it says as it ends is still for people.
    let controller =
        controller + fixture.controller.log()[controller..].find("{\"timestamp\"").context("a first line")?;
    fixture.configure_gateway(as_json)?;
    let gateway = gateway + fixture.gateway.log()[gateway..].find("{\"timestamp\"").context("a first line")?;

    let inside = fixture.network.host("inside")?;
    let echo = Upstream::echo(&inside, fixture.dir())?;
    fixture.add_service("echo", Service::Tcp(echo.address()), &["everyone"])?;
    let alice = fixture.add_person("alice", &[])?;
    alice.vestibule_with_password(&["pipe", "echo", "--alone"])?.run()?.ok()?;
    // Among them what goes wrong, and the end.
    std::fs::write(fixture.gateway_dir().join("gateway.toml"), "nonsense")?;
    fixture.gateway.reload()?;
    fixture.gateway.wait_for_log("nonsense", std::time::Duration::from_secs(10))?;
    assert_eq!(fixture.gateway.terminate()?, 0);
    assert_eq!(fixture.controller.terminate()?, 0);

    for (role, log) in
        [("gateway", &fixture.gateway.log()[gateway..]), ("controller", &fixture.controller.log()[controller..])]
    {
        assert!(log.lines().count() >= 3, "{role}:\n{log}");
        for line in log.lines() {
            let said: serde_json::Value = serde_json::from_str(line).context(format!("{role}: {line}"))?;
            for key in ["timestamp", "level", "message"] {
                assert!(said[key].is_string(), "{role} without {key}: {line}");
            }
        }
    }
    Ok(())
}
