//! What a direct service costs, and how soon it ends: `VESTIBULE_LAB_PROGRAMS=target/release cargo run --release -p vestibule-scenarios
//! --example direct [ROUNDS]`.
//!
//! A client and a gateway in network namespaces of their own, joined by a veth; a source of bytes at the gateway's machine. In turns one
//! stream of plain TCP, of the direct service and of the same service through the tunnel, each as the client gets it and by a local
//! port of `vestibule up` that somebody else reads; then the session is revoked while bytes flow. Prints medians, in Gbit/s and ms.
//! `cargo xtask bench door` runs it.
#![allow(clippy::print_stdout, reason = "an example that measures prints its measurements")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use vestibule_lab::{Context, Fixture, Person, Result, Upstream};

/// How long a stream is read for its throughput.
const SPAN: Duration = Duration::from_secs(2);
/// How long bytes flow before the session is revoked.
const FLOWING: Duration = Duration::from_millis(500);
/// How long one waits for the end of a revoked flow.
const END_WITHIN: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).and_then(|argument| argument.parse().ok()).unwrap_or(7);
    let fixture = Fixture::start()?;
    let gateway = fixture.gateway.host();
    let [plain, direct, carried] = [(), (), ()]
        .map(|()| Upstream::source(gateway, fixture.dir()))
        .into_iter()
        .collect::<Result<Vec<_>>>()?
        .try_into()
        .ok()
        .context("three sources")?;
    let port = direct.address().port().to_string();
    let add = |name: &str, at: SocketAddr, more: &[&str]| -> Result<()> {
        let at = at.to_string();
        let words = ["service", "add", name, "--tcp", &at, "--allow", "everyone"];
        fixture.at_gateway(&[&words, more].concat())?.run()?.ok().map(drop)
    };
    add("direct", direct.address(), &["--direct", &port])?;
    add("carried", carried.address(), &[])?;
    let alice = fixture.add_person("alice", &[])?;
    fixture.network.uncut(gateway)?;
    fixture.network.uncut(&alice.host)?;

    let link = || -> Result<String> {
        let invited = fixture.at_gateway(&["invite", "alice", "--json"])?.run()?.ok()?.json()?;
        Ok(invited["link"].as_str().context("a link")?.to_owned() + "\n")
    };
    let mut up = alice.up(&["--forward=127.0.0.1:7000=direct", "--forward=127.0.0.1:7001=carried"])?;
    let ports = [("plain", plain.address()), ("direct_port", at(7000)), ("tunnel_port", at(7001))];
    let clients = [("direct", "direct", true), ("tunnel", "carried", false)];
    let mut gbits: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for _ in 0..rounds {
        let mut tell = |name, bytes: f64, nanos| gbits.entry(name).or_default().push(bytes * 8.0 / nanos);
        for (name, from) in ports {
            let [bytes, nanos, _] = numbers(&Upstream::drain(&alice.host, from, SPAN)?.run()?.ok()?.out())?;
            tell(name, bytes, nanos);
        }
        for (name, service, directly) in clients {
            let [bytes, nanos, opened] = numbers(&client(&fixture, &alice, service, link()?)?)?;
            ((opened > 0.0) == directly).then_some(()).context("a connection took the other way")?;
            tell(name, bytes, nanos);
        }
    }
    for (name, gbits) in gbits {
        println!("{name}_gbits {:.3}", median(gbits));
    }
    // Signed off: each of the sessions to come is the only one.
    up.terminate()?;

    let ended = (0..rounds).map(|_| revoked(&fixture, &alice)).collect::<Result<Vec<f64>>>()?;
    println!("direct_end_worst_ms {:.3}", ended.iter().copied().fold(0.0, f64::max));
    println!("direct_end_ms {:.3}", median(ended));
    Ok(())
}

/// What a client of its own says that reads this service.
fn client(fixture: &Fixture, alice: &Person, service: &str, link: String) -> Result<String> {
    let folder = tempfile::tempdir_in(fixture.dir()).ok().context("a folder")?;
    let drain = std::env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join("drain")))
        .context("the example `drain`")?;
    let drain = alice.host.command(drain.to_str().context("a path")?);
    let (folder, span) = (folder.path().join("client"), SPAN.as_millis().to_string());
    let words = [folder.to_str().context("a path")?, service, &span];
    Ok(drain.args(words).stdin(link).run()?.ok()?.out())
}

/// Milliseconds from the command to the last byte of a direct flow.
fn revoked(fixture: &Fixture, alice: &Person) -> Result<f64> {
    let mut up = alice.up(&["--forward=127.0.0.1:7000=direct"])?;
    let log = tempfile::Builder::new().suffix(".log").tempfile_in(fixture.dir())?.into_temp_path().keep()?;
    let mut flow = Upstream::drain(&alice.host, at(7000), END_WITHIN * 2)?.spawn(log)?;
    thread::sleep(FLOWING);
    let sessions = fixture.at_gateway(&["session", "list", "--json"])?.run()?.ok()?.json()?;
    let session = sessions[0]["id"].as_str().context("a session")?.to_owned();
    let revoke = fixture.at_gateway(&["session", "revoke", &session])?;
    let given = SystemTime::now().duration_since(UNIX_EPOCH).ok().context("a clock")?.as_nanos() as f64;
    revoke.run()?.ok()?;
    flow.wait(END_WITHIN)?;
    let [bytes, _, last] = numbers(&flow.log())?;
    let _ = up.terminate();
    // A flow that had dried up before would be no measurement.
    (bytes > 1e6 && last >= given).then_some((last - given) / 1e6).context("no byte came after the command")
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn numbers(line: &str) -> Result<[f64; 3]> {
    let numbers: Option<Vec<f64>> = line.split_whitespace().map(|number| number.parse().ok()).collect();
    numbers.and_then(|numbers| numbers.try_into().ok()).context(format!("no three numbers: {line}"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
