//! Pages and style sheets through the guard, beside nginx in front of the same application.

use super::client::{Client, get};
use super::site::Target;
use super::stage::{SIZES, Stage};
use crate::bench::samples::Samples;
use crate::bench::{Effort, Row, cpu::cpu_time};
use crate::run::Result;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Connections of the client while processor time is measured; a request on each, then all answers.
const AT_ONCE: usize = 16;

/// One way to one thing, and what has been measured of it.
struct Way {
    name: &'static str,
    at: SocketAddr,
    pid: u32,
    target: Target,
    cpu: Duration,
    requests: u32,
    spans: Vec<Duration>,
}

/// Rounds of all ways in turn.
pub(super) fn beside_nginx(stage: &Stage, effort: Effort, rows: &mut Vec<Row>) -> Result<()> {
    let nginx = match stage.nginx()? {
        Ok(nginx) => Some(nginx),
        Err(row) => {
            rows.push(row);
            None
        }
    };
    for kib in SIZES {
        let (page, style) = (Target::Page(kib), Target::Style(kib));
        let mut ways = vec![
            Way::new("guarded page", stage.guard_at, stage.guard(), page),
            Way::new("style sheet through the guard", stage.guard_at, stage.guard(), style),
        ];
        if let Some(nginx) = &nginx {
            ways.push(Way::new("nginx sub_filter, every address", nginx.rewriting, nginx.pid(), page));
            ways.push(Way::new("nginx proxy_pass, style sheet", nginx.passing, nginx.pid(), style));
            ways.push(Way::new("nginx sub_filter, script and field", nginx.inserting, nginx.pid(), page));
            ways.push(Way::new("nginx proxy_pass, page", nginx.passing, nginx.pid(), page));
        }
        ways.iter().try_for_each(Way::check)?;
        for _ in 0..effort.pick(5, 1) {
            ways.iter_mut().try_for_each(|way| way.round(effort))?;
        }
        rows.extend(ways.iter().flat_map(|way| way.rows(kib)));
        if let [guarded, styled, rewritten, passed, inserted, _] = &ways[..] {
            let name = |what: &str| format!("{kib} KiB: {what}");
            let ratio = |way: &Way, of: &Way| way.cpu_us() / of.cpu_us();
            rows.push(
                Row::new(name("CPU of a guarded page, of sub_filter"), ratio(guarded, rewritten), "x").at_most(1.0),
            );
            rows.push(Row::new(name("… of sub_filter that inserts two constants"), ratio(guarded, inserted), "x"));
            let p50 = guarded.p50_us() / rewritten.p50_us();
            rows.push(Row::new(name("p50 of a guarded page, of sub_filter"), p50, "x").at_most(1.1));
            rows.push(Row::new(name("CPU of a style sheet, of proxy_pass"), ratio(styled, passed), "x").at_most(1.5));
        }
    }
    Ok(())
}

impl Way {
    fn new(name: &'static str, at: SocketAddr, pid: u32, target: Target) -> Self {
        Self { name, at, pid, target, cpu: Duration::ZERO, requests: 0, spans: Vec::new() }
    }

    /// Whether it does at all what it is measured for.
    fn check(&self) -> Result<()> {
        let mut client = Client::to(self.at)?;
        client.send(&get(self.target))?;
        let answer = String::from_utf8_lossy(client.answer()?).into_owned();
        let has = |texts: &[&str]| texts.iter().all(|text| answer.contains(text));
        let good = match self.name {
            "guarded page" => has(&["data-page=", r#"name=".vestibule""#, ".f0"]),
            "nginx sub_filter, every address" => has(&[r#"href="/0123456789abcdef/orders/1/"#]),
            "nginx sub_filter, script and field" => has(&["data-page=", r#"name="page""#]),
            _ => !has(&["data-page="]),
        };
        if good { Ok(()) } else { Err(format!("{}: {answer:.900}", self.name).into()) }
    }

    fn round(&mut self, effort: Effort) -> Result<()> {
        let request = get(self.target);
        let mut client = Client::to(self.at)?;
        let mut spans = Vec::new();
        let until = Instant::now() + Duration::from_millis(effort.pick(400, 300) as u64);
        while Instant::now() < until {
            let begun = Instant::now();
            client.send(&request)?;
            client.answer()?;
            spans.push(begun.elapsed());
        }
        // The first connect to the application, and lose the way to it.
        self.spans.extend(spans.into_iter().skip(20));
        self.saturate(&request, Duration::from_millis(effort.pick(800, 500) as u64))
    }

    fn saturate(&mut self, request: &[u8], span: Duration) -> Result<()> {
        let mut clients = (0..AT_ONCE).map(|_| Client::to(self.at)).collect::<Result<Vec<_>>>()?;
        all(&mut clients, request)?;
        let before = cpu_time(self.pid)?;
        let until = Instant::now() + span;
        while Instant::now() < until {
            all(&mut clients, request)?;
            self.requests += AT_ONCE as u32;
        }
        self.cpu += cpu_time(self.pid)?.saturating_sub(before);
        Ok(())
    }

    fn rows(&self, kib: usize) -> [Row; 2] {
        let name = format!("{kib} KiB: {}", self.name);
        [
            Row::new(format!("{name}, CPU"), self.cpu_us(), "us").note(format!("of {} requests", self.requests)),
            Row::new(format!("{name}, p50"), self.p50_us(), "us"),
        ]
    }

    fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / f64::from(self.requests.max(1))
    }

    fn p50_us(&self) -> f64 {
        Samples::new(self.spans.clone()).micros(50.0)
    }
}

fn all(clients: &mut [Client], request: &[u8]) -> Result<()> {
    clients.iter_mut().try_for_each(|client| client.send(request))?;
    clients.iter_mut().try_for_each(|client| client.answer().map(drop))
}
