//! What requests in progress cost in memory.

use super::client::{Client, get};
use super::site::{DOWNLOAD, STREAMED, Target};
use super::stage::Stage;
use crate::bench::memory::anonymous_kib;
use crate::bench::{Effort, Row};
use crate::run::Result;

/// What one request may hold, in KiB.
const MOST: f64 = 256.0;
const BLOCK: usize = 1 << 16;

/// Growth of the guard's memory by one long transfer each way, then by many long pages at once.
pub(super) fn growth(stage: &Stage, effort: Effort, rows: &mut Vec<Row>) -> Result<()> {
    let token = token(stage)?;
    let gigabyte = "most held in a";
    rows.push(Row::new(format!("{gigabyte} download of 1 GiB"), download(stage)?, "KiB").at_most(MOST));
    rows.push(Row::new(format!("{gigabyte}n upload of 1 GiB"), upload(stage, &token)?, "KiB").at_most(MOST));
    let pages = effort.pick(64, 16);
    let held = many_pages(stage, pages)? / pages as f64;
    let name = "most held per page of 10 MiB";
    rows.push(Row::new(name, held, "KiB").at_most(MOST).note(format!("{pages} at once, slowly read")));
    Ok(())
}

/// A page's token; fetched several times, so that what a first page needs is there.
fn token(stage: &Stage) -> Result<String> {
    let mut client = Client::to(stage.guard_at)?;
    let mut page = String::new();
    for _ in 0..50 {
        client.send(&get(Target::Page(10)))?;
        page = String::from_utf8_lossy(client.answer()?).into_owned();
    }
    let token = page.split_once("data-page=\"").and_then(|(_, rest)| rest.split_once('"'));
    Ok(token.ok_or("no token in the page")?.0.to_owned())
}

fn download(stage: &Stage) -> Result<f64> {
    let mut client = Client::to(stage.guard_at)?;
    let mut most = Most::begin(stage.guard())?;
    client.send(&get(Target::Download))?;
    let mut reading = client.first_of_body()?;
    let mut next = 0;
    while !reading.is_over() {
        client.some(&mut reading)?;
        if reading.total >= next {
            most.look()?;
            next += DOWNLOAD / 64;
        }
    }
    Ok(most.growth())
}

fn upload(stage: &Stage, token: &str) -> Result<f64> {
    let mut client = Client::to(stage.guard_at)?;
    let mut most = Most::begin(stage.guard())?;
    let head = format!(
        "POST /orders/place HTTP/1.1\r\nHost: orders.localhost:8080\r\nOrigin: http://orders.localhost:8080\r\nVestibule-Page: {token}\r\n\
         Sec-Fetch-Site: same-origin\r\nContent-Type: application/octet-stream\r\nContent-Length: {DOWNLOAD}\r\n\r\n"
    );
    client.send(head.as_bytes())?;
    let block = vec![7; BLOCK];
    for nth in 0..DOWNLOAD / BLOCK {
        client.send(&block)?;
        if nth % 256 == 0 {
            most.look()?;
        }
    }
    client.answer()?;
    most.look()?;
    Ok(most.growth())
}

fn many_pages(stage: &Stage, count: usize) -> Result<f64> {
    let mut most = Most::begin(stage.guard())?;
    let mut all = Vec::new();
    for _ in 0..count {
        let mut client = Client::to(stage.guard_at)?;
        client.send(&get(Target::Streamed))?;
        all.push(client);
    }
    let mut running = Vec::new();
    for mut client in all {
        let reading = client.first_of_body()?;
        running.push((client, reading));
    }
    while !running.is_empty() {
        most.look()?;
        for (client, reading) in &mut running {
            client.some(reading)?;
        }
        let over = running.iter().filter(|(_, reading)| reading.is_over());
        if let Some((_, short)) = over.clone().find(|(_, reading)| reading.total < STREAMED) {
            return Err(format!("a page of {} bytes", short.total).into());
        }
        running.retain(|(_, reading)| !reading.is_over());
    }
    Ok(most.growth())
}

/// The most memory that a process held beyond what it began with.
struct Most {
    pid: u32,
    before: f64,
    most: f64,
}

impl Most {
    fn begin(pid: u32) -> Result<Self> {
        let before = anonymous_kib(pid)?;
        Ok(Self { pid, before, most: before })
    }

    fn look(&mut self) -> Result<()> {
        self.most = self.most.max(anonymous_kib(self.pid)?);
        Ok(())
    }

    fn growth(&self) -> f64 {
        self.most - self.before
    }
}
