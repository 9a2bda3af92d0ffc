//! `vestibule demo --once`: its exit code says whether every step happened as it is told.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use vestibule_lab::{Context, Host, Result, Running, program};

const STORY_WITHIN: Duration = Duration::from_secs(150);
/// Scenes of the story.
const STEPS: usize = 9;

/// The story by itself, on a machine of its own: the steps go to the file `story` in `dir`.
fn start(host: &Host, dir: &Path) -> Result<Running> {
    let words = "exec \"$0\" demo --once --json >story";
    let demo = host.command("sh").arg("-c").arg(words).arg(program()?).dir(dir);
    demo.env("TMPDIR", dir).spawn(dir.join("errors"))
}

/// The titles of the steps, and whether each happened as told.
fn steps(dir: &Path) -> Result<Vec<(String, bool)>> {
    let text = fs::read_to_string(dir.join("story"))?;
    let story: serde_json::Value = serde_json::from_str(&text).context(text)?;
    let step = |step: &serde_json::Value| Some((step["title"].as_str()?.to_owned(), step["happened"].as_bool()?));
    story.as_array().and_then(|steps| steps.iter().map(step).collect()).context(format!("{story} is no story"))
}

#[test]
fn the_demo_ends_with_0_when_every_step_happened() -> Result<()> {
    let (host, dir) = (Host::solitary("demo")?, tempfile::tempdir()?);
    let mut demo = start(&host, dir.path())?;
    assert_eq!(demo.wait(STORY_WITHIN)?, 0, "{}", demo.log());
    let steps = steps(dir.path())?;
    assert_eq!(steps.len(), STEPS, "{steps:?}");
    assert!(steps.iter().all(|(_, happened)| *happened), "{steps:?}");
    assert!(!left_over(dir.path())?, "the demo leaves its folder behind");
    Ok(())
}

/// Somebody's datagrams arrive while a wrong password is typed: the counters move, and the story must say so. They are shaped like
/// knocks, since others are dropped by the kernel and not counted.
#[test]
fn the_demo_ends_with_1_when_a_step_did_not_happen_as_told() -> Result<()> {
    let (host, dir) = (Host::solitary("demo")?, tempfile::tempdir()?);
    let mut bait = [0; 1200];
    bait[..4].copy_from_slice(&[1, 1, 0, 0]);
    let mut demo = start(&host, dir.path())?;
    while demo.is_running()? {
        match controller(dir.path()) {
            Some(controller) => drop(host.send_datagrams([(controller, &bait[..])], Duration::from_millis(20))?),
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    assert_eq!(demo.wait(STORY_WITHIN)?, 1, "{}", demo.log());
    assert!(demo.log().contains("did not happen as told"), "{}", demo.log());
    let steps = steps(dir.path())?;
    let failed: Vec<_> = steps.iter().filter(|(_, happened)| !happened).map(|(title, _)| title.as_str()).collect();
    assert_eq!(failed, ["Somebody types a wrong password on Alice's laptop"]);
    Ok(())
}

/// Where the demo's controller listens, once it is made.
fn controller(dir: &Path) -> Option<SocketAddr> {
    let stage = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path().join("controller/controller.toml"));
    let text = stage.into_iter().find_map(|file| fs::read_to_string(file).ok())?;
    text.lines().find_map(|line| line.strip_prefix("listen = [\"")?.split('"').next()?.parse().ok())
}

fn left_over(dir: &Path) -> Result<bool> {
    Ok(fs::read_dir(dir)?.flatten().any(|entry| entry.path().is_dir()))
}
