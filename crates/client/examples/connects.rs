//! A client that stays running and connects again and again: what `cargo xtask bench connect` measures.
//!
//! `connects FOLDER COUNT SERVICE` reads one invitation a line from stdin, enrols a device with each (with little Argon2id, so that the
//! rest is seen), and connects with them in turns. It prints one JSON object a connect: `{"knock_us", "dial_us", "login_us", "ksf_us",
//! "first_byte_us"}`, or `{"failed"}`. With `hold` as a fourth word it keeps all sessions until stdin ends.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for measuring")]

use std::io::{BufRead, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vestibule_client::enrol::{self, EnrolOptions};
use vestibule_client::home::Home;
use vestibule_client::{Client, Options, Tunnel, local, names};
use vestibule_local_credential::credential::Params;
use vestibule_local_credential::fingerprint::{Source, Sources};
use vestibule_local_credential::password::Password;

/// The controller lets a row knock once a second, after a burst of five: a device waits so long between two connects.
const EACH_DEVICE: Duration = Duration::from_millis(1_050);

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, count, service, rest @ ..] = &arguments[..] else {
        println!("usage: connects FOLDER COUNT SERVICE [hold] < INVITATIONS");
        return;
    };
    let hold = rest.iter().any(|word| word == "hold");
    let homes = enrol_all(PathBuf::from(folder)).await;
    let mut held = Vec::new();
    let mut last: Vec<Option<Instant>> = vec![None; homes.len()];
    for number in 0..count.parse::<usize>().unwrap() {
        let device = number % homes.len();
        if let Some(since) = last[device] {
            tokio::time::sleep(EACH_DEVICE.saturating_sub(since.elapsed())).await;
        }
        last[device] = Some(Instant::now());
        match connect(&homes[device], service, !hold).await {
            Ok((client, line)) => {
                println!("{line}");
                if hold {
                    held.push(client);
                } else {
                    let _ = client.sign_off().await;
                }
            }
            Err(error) => println!("{}", serde_json::json!({ "failed": error })),
        }
    }
    if hold {
        println!("{}", serde_json::json!({ "held": held.len() }));
        let wait = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        let _ = wait.await;
    }
}

fn sources() -> Sources {
    Sources::fixed(&[(Source::MachineId, "measuring"), (Source::FilesystemId, "measuring")])
}

fn password() -> Password {
    Password::new("nine violet herons at noon").unwrap()
}

/// Until an empty line or the end.
async fn enrol_all(folder: PathBuf) -> Vec<Home> {
    let lines: Vec<String> =
        std::io::stdin().lock().lines().map(|line| line.unwrap()).take_while(|line| !line.is_empty()).collect();
    let mut homes = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let home = Home::new(folder.join(number.to_string()));
        let options = EnrolOptions {
            home: home.clone(),
            device_name: format!("device {number}"),
            sources: sources(),
            replace: false,
            stretching: Params::new(8, 1, 1, 10).unwrap(),
        };
        let invitation = enrol::read_link(line).unwrap();
        enrol::enrol(&invitation, Arc::new(password()), &options).await.unwrap();
        homes.push(home);
    }
    homes
}

async fn connect(home: &Home, service: &str, open: bool) -> Result<(Client, serde_json::Value), String> {
    let told = |error: vestibule_client::ClientError| error.headline();
    let file = home.choose(None).map_err(told)?;
    let unlocked = local::recognise(&file, &sources()).map_err(told)?.unlock(&password()).map_err(told)?;
    let client = Client::connect(unlocked, Options::default()).await.map_err(told)?;
    let timings = client.timings();
    let mut first_byte = None;
    if open {
        let target = names::find(&client.services(), service).map_err(told)?;
        let begun = Instant::now();
        let stream = client.open(target).await.map_err(told)?;
        client.carry_io(stream, &b"hello\n"[..], tokio::io::sink()).await.map_err(|error| error.to_string())?;
        first_byte = Some(begun.elapsed());
    }
    let micros = |span: Duration| span.as_secs_f64() * 1e6;
    let line = serde_json::json!({
        "knock_us": micros(timings.knock),
        "dial_us": micros(timings.dial),
        "login_us": micros(timings.login),
        "ksf_us": micros(timings.ksf),
        "first_byte_us": first_byte.map(micros),
    });
    Ok((client, line))
}
