//! A client that stays running and connects when it is told to: what `cargo xtask bench connect` measures.
//!
//! `connects FOLDER SERVICE` reads orders from stdin, a line each, and answers each with lines of JSON:
//!
//! | order | does | answers |
//! |---|---|---|
//! | `enrol LINK` | enrols one more device, with little Argon2id | `{"enrolled"}` |
//! | `connect COUNT` | connects, asks the service for an echo, signs off; the devices take turns | COUNT × `{"knock_us", "dial_us", "login_us", "ksf_us", "first_byte_us"}` or `{"failed"}` |
//! | `hold COUNT` | connects, and keeps the sessions | `{"held"}` |
//! | `let-go` | signs all of them off | `{"held": 0}` |

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for measuring")]

use std::io::BufRead;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vestibule_client::enrol::{self, EnrolOptions, TpmChoice};
use vestibule_client::home::Home;
use vestibule_client::pipe::pipe;
use vestibule_client::{Client, ClientError, Options, local};
use vestibule_local_credential::credential::Params;
use vestibule_local_credential::fingerprint::{Source, Sources};
use vestibule_local_credential::password::Password;

/// The controller lets a row knock once a second, after a burst of five: a device waits so long between two connects.
const EACH_DEVICE: Duration = Duration::from_millis(1_050);

// As the program's client runs.
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let [folder, service] = std::env::args().skip(1).collect::<Vec<_>>().try_into().unwrap();
    let mut crowd = Crowd { folder: folder.into(), service, devices: Vec::new(), next: 0, held: Vec::new() };
    let (orders, mut ordered) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        std::io::stdin().lock().lines().try_for_each(|line| orders.blocking_send(line.unwrap()))
    });
    while let Some(order) = ordered.recv().await {
        match order.split_once(' ').unwrap_or((&order, "")) {
            ("enrol", link) => crowd.enrol(link).await,
            ("connect", count) => crowd.connect(count.parse().unwrap()).await,
            ("hold", count) => crowd.hold(count.parse().unwrap()).await,
            ("let-go", _) => crowd.let_go().await,
            _ => println!("{}", serde_json::json!({ "failed": "no such order" })),
        }
    }
}

/// Devices of several people on one machine.
struct Crowd {
    folder: PathBuf,
    service: String,
    devices: Vec<Device>,
    next: usize,
    held: Vec<Client>,
}

struct Device {
    home: Home,
    last: Option<Instant>,
}

impl Crowd {
    async fn enrol(&mut self, link: &str) {
        let number = self.devices.len();
        let home = Home::new(self.folder.join(number.to_string()));
        let options = EnrolOptions {
            home: home.clone(),
            device_name: format!("device {number}"),
            sources: sources(),
            replace: false,
            stretching: Params::new(8, 1, 1, 10).unwrap(),
            tpm: TpmChoice::Never,
        };
        let invitation = enrol::read_link(link).unwrap();
        enrol::enrol(&invitation, Arc::new(password()), &options).await.unwrap();
        self.devices.push(Device { home, last: None });
        println!("{}", serde_json::json!({ "enrolled": number }));
    }

    async fn connect(&mut self, count: usize) {
        for _ in 0..count {
            let told = match self.one().await {
                Ok(client) => self.use_it(client).await,
                Err(error) => Err(error),
            };
            println!("{}", told.unwrap_or_else(|error| serde_json::json!({ "failed": error.headline() })));
        }
    }

    async fn hold(&mut self, count: usize) {
        for _ in 0..count {
            match self.one().await {
                Ok(client) => self.held.push(client),
                Err(error) => return println!("{}", serde_json::json!({ "failed": error.headline() })),
            }
        }
        println!("{}", serde_json::json!({ "held": self.held.len() }));
    }

    async fn let_go(&mut self) {
        for client in self.held.drain(..) {
            let _ = client.sign_off().await;
        }
        println!("{}", serde_json::json!({ "held": 0 }));
    }

    /// The next device connects, when it may.
    async fn one(&mut self) -> Result<Client, ClientError> {
        let number = self.next % self.devices.len();
        let device = &mut self.devices[number];
        self.next += 1;
        if let Some(last) = device.last {
            tokio::time::sleep(EACH_DEVICE.saturating_sub(last.elapsed())).await;
        }
        device.last = Some(Instant::now());
        let file = device.home.choose(None)?;
        let unlocked = local::recognise(&file, &sources())?.unlock(&password())?;
        Client::connect(unlocked, Options::default()).await
    }

    /// A line there and back, then the end; what the connect took.
    async fn use_it(&self, client: Client) -> Result<serde_json::Value, ClientError> {
        let piped = pipe(&client, &self.service, &b"hello\n"[..], tokio::io::sink()).await?;
        let timings = client.timings();
        client.sign_off().await?;
        Ok(serde_json::json!({
            "knock_us": micros(timings.knock),
            "dial_us": micros(timings.dial),
            "login_us": micros(timings.login),
            "ksf_us": micros(timings.ksf),
            "first_byte_us": piped.times.first_byte.map(micros),
        }))
    }
}

fn sources() -> Sources {
    Sources::fixed(&[(Source::MachineId, "measuring"), (Source::FilesystemId, "measuring")])
}

fn password() -> Password {
    Password::new("nine violet herons at noon").unwrap()
}

fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}
