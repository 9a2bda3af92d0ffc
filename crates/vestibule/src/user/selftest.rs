//! `vestibule selftest --from-outside`: what strangers see of one's own controller and gateway.

use crate::cli::SelftestArgs;
use crate::fault::{self, Fault};
use crate::output::{self, Output};
use std::collections::BTreeSet;
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;
use vestibule_client::why::Passage;
use vestibule_client::{Client, ClientError, Options};
use vestibule_stranger::{Report, Scan, Target, Verdict, look, said};

/// Addresses that are looked at in one run at most.
const TARGETS: usize = 16;

/// How long the tags of an admission that was not used up may outlive its window.
const MARGIN: Duration = Duration::from_secs(1);

/// Looks, prints the report, and fails if anything was to be seen.
pub(crate) fn run(arguments: &SelftestArgs, output: &Output) -> Result<ExitCode, Fault> {
    if !arguments.from_outside {
        return Err(Fault::usage("there is nothing to test").next("vestibule selftest --from-outside"));
    }
    let scans = if arguments.targets.is_empty() { around_an_admission(arguments, output) } else { now(arguments) }?;
    let report = Report::new(scans, arguments.known_machine);
    print(&report, arguments, output)?;
    if report.passed { Ok(ExitCode::SUCCESS) } else { Err(seen(&report)) }
}

/// One look at each address that was named.
fn now(arguments: &SelftestArgs) -> Result<Vec<Scan>, Fault> {
    scan("now", &resolve(arguments.targets.iter().map(|name| ("target", name.as_str())))?)
}

/// Looks at the controller and the gateway of this device before, during and after an admission of its own. Where the gateway
/// is only an admission tells, so the first one is for that alone.
fn around_an_admission(arguments: &SelftestArgs, output: &Output) -> Result<Vec<Scan>, Fault> {
    let home = super::home(&arguments.credential)?;
    crate::logging::start(&super::configuration(&home)?.log);
    let file = super::choose(&home, &arguments.credential)?;
    let recognised = super::recognise(&file)?;
    let typed = super::typed(&file, &arguments.password)?;
    let mut targets =
        resolve(recognised.sealed().controllers.iter().map(|controller| ("controller", controller.as_str())))?;

    let runtime = crate::roles::client_runtime()?;
    let mut passage = Passage::default();
    output::note("asking where the gateway is, and waiting until that admission is over…");
    let unlocked = super::open(&recognised, &typed, output)?;
    runtime.block_on(async {
        let client = Client::connect_passing(unlocked, Options::default(), &mut passage).await?;
        sign_off(&client).await;
        tokio::time::sleep(passage.window + MARGIN).await;
        Ok::<(), ClientError>(())
    })?;
    targets.extend(passage.gateways.iter().map(|address| Target { name: "gateway".to_owned(), address: *address }));

    let mut scans = scan("before", &targets)?;
    let unlocked = super::open(&recognised, &typed, output)?;
    runtime.block_on(async {
        let client = Client::connect(unlocked, Options::default()).await?;
        let targets = targets.clone();
        let during = tokio::task::spawn_blocking(move || scan("during", &targets)).await;
        sign_off(&client).await;
        scans.extend(during.map_err(|_| Fault::unexpected("the look broke off"))??);
        Ok::<(), Fault>(())
    })?;
    scans.extend(scan("after", &targets)?);
    Ok(scans)
}

async fn sign_off(client: &Client) {
    // A gateway that can't be told ends the session by its idle limit.
    let _ = client.sign_off().await;
}

fn resolve<'a>(names: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Vec<Target>, Fault> {
    let (mut targets, mut known) = (Vec::new(), BTreeSet::new());
    for (role, name) in names {
        let addresses = name.to_socket_addrs().map_err(|error| {
            Fault::usage(format!("`{name}` is no address: {error}"))
                .next("write it as HOST:PORT, as in 203.0.113.5:4434")
        })?;
        let new = addresses.filter(|address| known.insert(*address));
        targets.extend(new.map(|address: SocketAddr| Target { name: role.to_owned(), address }));
    }
    targets.truncate(TARGETS);
    Ok(targets)
}

fn scan(when: &'static str, targets: &[Target]) -> Result<Vec<Scan>, Fault> {
    targets
        .iter()
        .map(|target| {
            output::note(&format!("looking at {} {} ({when})…", target.name, target.address));
            let sight = look(target).map_err(|error| {
                Fault::unexpected(error.to_string()).next("run it on another machine, in another network if you can")
            })?;
            Ok(Scan { when, target: target.clone(), sight })
        })
        .collect()
}

fn print(report: &Report, arguments: &SelftestArgs, output: &Output) -> Result<(), Fault> {
    if arguments.markdown {
        return output::write_stdout(report.markdown().as_bytes());
    }
    if output.is_json() {
        return output.say(report, String::new);
    }
    let rows: Vec<_> =
        report.scans.iter().flat_map(|scan| scan.sight.rows.iter().map(move |row| (scan, row))).collect();
    output.list(&rows, &["when", "address", "probes", "sent", "seen", "answers"], |(scan, row)| {
        let Target { name, address } = &scan.target;
        let seen = row.verdict.words().to_owned();
        let (probes, sent) = (row.probes.words().to_owned(), row.sent.to_string());
        vec![scan.when.to_owned(), format!("{name} {address}"), probes, sent, seen, said(row)]
    })?;
    report.scans.iter().filter(|scan| scan.sight.stands_out).for_each(|scan| output::note(&scan.warning()));
    Ok(())
}

fn seen(report: &Report) -> Fault {
    if report.verdict() == Verdict::Service {
        return Fault::new(fault::SEEN, "a stranger sees that something serves there")
            .detail("An answer came that this machine does not give for a port that nobody uses.")
            .next("look what has that port there; if it is vestibule, please report it (SECURITY.md)");
    }
    Fault::new(fault::SEEN, "a stranger sees that there is a machine")
        .detail("The ports themselves are silent; it is the machine's own system that answers.")
        .next("let its firewall drop what no rule accepts, or allow for it with --known-machine")
}
