//! Runs the gateway of a directory with hardly any stretching of new devices' passwords, until its stdin ends:
//! `light FOLDER LISTEN`.
//!
//! For measuring only: a device that enrolled here logs in without the 64 MiB of Argon2id that would hide everything else, at
//! the real gateway, too.

#![allow(clippy::unwrap_used, reason = "a tool for measuring")]

use std::io::Read;
use vestibule_gateway::{Gateway, Settings};
use vestibule_proto::login::KsfParams;

fn main() {
    // As the program's gateway runs: one core is left to what is not its own.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = cores.saturating_sub(1).max(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    runtime.unwrap().block_on(serve());
}

async fn serve() {
    let [folder, listen] = std::env::args().skip(1).collect::<Vec<_>>().try_into().unwrap();
    let mut settings = Settings::new(folder.into(), vec![listen.parse().unwrap()]);
    settings.ksf = KsfParams::new(8, 1, 1).unwrap();
    let gateway = Gateway::start(settings).await.unwrap();
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    ended.await.unwrap().unwrap();
    gateway.stop().await;
}
