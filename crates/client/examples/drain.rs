//! Enrols a device, connects, opens a service and reads it as fast as it can, without a local port between: what the example `direct`
//! of the scenarios measures.
//!
//! `drain FOLDER SERVICE MILLISECONDS` reads an invitation from stdin. Prints how many bytes came, within how many nanoseconds, and how
//! many connections went without the tunnel.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for measuring")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use vestibule_client::enrol::{self, EnrolOptions, TpmChoice};
use vestibule_client::home::Home;
use vestibule_client::{Client, Options, Tunnel, local, names};
use vestibule_local_credential::credential::Params;
use vestibule_local_credential::fingerprint::{Source, Sources};
use vestibule_local_credential::password::Password;

const BLOCK: usize = 1 << 20;

// As the program's client runs.
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let [folder, service, span] = std::env::args().skip(1).collect::<Vec<_>>().try_into().unwrap();
    let (folder, span) = (PathBuf::from(folder), Duration::from_millis(span.parse().unwrap()));
    let client = connected(folder).await;
    let mut stream = client.open(names::find(&client.services(), &service).unwrap()).await.unwrap();
    let (mut block, mut bytes, begun) = (vec![0; BLOCK], 0, Instant::now());
    while let Ok(Ok(count)) = tokio::time::timeout(span.saturating_sub(begun.elapsed()), stream.read(&mut block)).await
    {
        if count == 0 {
            break;
        }
        bytes += count;
    }
    println!("{bytes} {} {}", begun.elapsed().as_nanos(), client.direct().opened);
    drop(stream);
    client.sign_off().await.unwrap();
}

async fn connected(folder: PathBuf) -> Client {
    let mut link = String::new();
    std::io::stdin().read_line(&mut link).unwrap();
    let sources = || Sources::fixed(&[(Source::MachineId, "measuring"), (Source::FilesystemId, "measuring")]);
    let password = || Password::new("nine violet herons at noon").unwrap();
    let options = EnrolOptions {
        home: Home::new(folder),
        device_name: "drain".to_owned(),
        sources: sources(),
        replace: true,
        stretching: Params::new(8, 1, 1, 10).unwrap(),
        tpm: TpmChoice::Never,
    };
    let enrolled = enrol::enrol(&enrol::read_link(link.trim()).unwrap(), Arc::new(password()), &options).await.unwrap();
    let unlocked = local::recognise(&enrolled.file, &sources()).unwrap().unlock(&password()).unwrap();
    Client::connect(unlocked, Options::default()).await.unwrap()
}
