//! PostgreSQL through `forward`, fifty connections at once.

use std::time::Duration;
use vestibule_lab::{Fixture, Result, Service};
use vestibule_scenarios::{Postgres, installed};

const CONNECTIONS: usize = 50;

#[test]
fn psql_through_forward_with_fifty_connections_at_once() -> Result<()> {
    let fixture = Fixture::start()?;
    let inside = fixture.network.host("inside")?;
    let postgres = Postgres::start(&inside, fixture.dir())?;
    fixture.add_service("db", Service::Tcp(postgres.address()), &["group:sales"])?;
    let alice = fixture.add_person("alice", &["sales"])?;
    let log = fixture.dir().join("forward.log");
    let mut forward = alice.vestibule_with_password(&["forward", "5432=db"])?.spawn(&log)?;
    forward.wait_for_log("leads to db", Duration::from_secs(30))?;

    let psql = installed("psql", "postgresql-client")?;
    // Each connection sleeps while the others come; the server itself counts how many are there at once.
    let script = format!(
        "for i in $(seq {CONNECTIONS}); do PGAPPNAME=doors {} -h 127.0.0.1 -p 5432 -U vestibule -d postgres -Atq \
         -c 'select pg_sleep(4)' -c \"select 'sum', sum(g) from generate_series(1, $i) g\" & done; \
         sleep 2.5; PGAPPNAME=watch {} -h 127.0.0.1 -p 5432 -U vestibule -d postgres -Atqc \
         \"select 'at once', count(*) from pg_stat_activity where application_name = 'doors'\"; wait",
        psql.display(),
        psql.display()
    );
    let out = alice.host.command("bash").arg("-c").arg(script).within(Duration::from_secs(120)).run()?.ok()?.out();
    let at_once = out.lines().find_map(|line| line.strip_prefix("at once|")).and_then(|count| count.parse().ok());
    assert_eq!(at_once, Some(CONNECTIONS), "{out}");
    for i in 1..=CONNECTIONS {
        let expected = format!("sum|{}", i * (i + 1) / 2);
        assert!(out.lines().any(|line| line == expected), "{expected} is missing in:\n{out}");
    }
    Ok(())
}
