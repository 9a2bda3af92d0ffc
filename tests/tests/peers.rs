//! The peers themselves, without Vestibule between: what they do over a bare wire is what they must do through it.

use vestibule_lab::{Network, Result};
use vestibule_scenarios::{Postgres, Sshd};

#[test]
fn ssh_and_scp_reach_a_server_over_a_bare_wire() -> Result<()> {
    let (network, dir) = (Network::new()?, tempfile::tempdir()?);
    let (server, person) = (network.host("server")?, network.host("person")?);
    let sshd = Sshd::start(&server, dir.path())?;
    let destination = format!("{}@{}", sshd.user(), sshd.address());
    let ssh = sshd.client("ssh", &person, "none")?.args([&format!("ssh://{destination}"), "echo over the wire"]);
    assert_eq!(ssh.run()?.ok()?.out(), "over the wire");

    let (file, copy) = (dir.path().join("file"), dir.path().join("copy"));
    std::fs::write(&file, vec![7; 1_000_000])?;
    let scp = sshd.client("scp", &person, "none")?.arg(&file).arg(format!("scp://{destination}/{}", copy.display()));
    scp.run()?.ok()?;
    assert_eq!(std::fs::read(&copy)?, std::fs::read(&file)?);
    Ok(())
}

#[test]
fn psql_reaches_a_server_over_a_bare_wire() -> Result<()> {
    let (network, dir) = (Network::new()?, tempfile::tempdir()?);
    let (server, person) = (network.host("server")?, network.host("person")?);
    let postgres = Postgres::start(&server, dir.path())?;
    let url = format!("postgresql://vestibule@{}/postgres", postgres.address());
    let psql = person.command("psql").args([&url, "-Atc", "select 6 * 7"]);
    assert_eq!(psql.run()?.ok()?.out(), "42");
    Ok(())
}
