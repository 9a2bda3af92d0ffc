//! `vestibule demo`: all of it on one machine, for real, over loopback addresses, told step by step with measured times.
//!
//! Nothing is acted: controller, gateway, sample upstreams and clients are processes of this very program, and every sentence of the
//! story is checked before it is told. A step that does not happen as told makes the exit code 1.

mod cast;
mod guarded;
mod orders;
mod scenes;
mod stage;
mod stranger;
pub(crate) mod upstream;

pub(crate) use stage::end_with_the_demo;

use crate::cli::DemoArgs;
use crate::fault::Fault;
use crate::output::{self, Output};
use owo_colors::OwoColorize;
use serde::Serialize;
use std::process::ExitCode;

/// One checked step of the story.
#[derive(Serialize)]
pub(crate) struct Step {
    title: String,
    told: Vec<String>,
    happened: bool,
}

/// The story so far: told as it happens, or collected for a script.
pub(crate) struct Story {
    quiet: bool,
    steps: Vec<Step>,
}

impl Story {
    /// Begins a step.
    pub(crate) fn step(&mut self, title: &str) {
        if !self.quiet {
            output::line(&format!("\n{}", format!("{}. {title}", self.steps.len() + 1).bold()));
        }
        self.steps.push(Step { title: title.to_owned(), told: Vec::new(), happened: true });
    }

    /// Tells something that needs no check.
    pub(crate) fn tell(&mut self, text: &str) {
        if !self.quiet {
            output::line(&format!("   {text}"));
        }
        self.note(text, true);
    }

    /// Tells what was checked, and whether it was so.
    pub(crate) fn check(&mut self, happened: bool, text: &str) {
        if !self.quiet {
            let mark = if happened { "✓".green().to_string() } else { "✗".red().bold().to_string() };
            output::line(&format!("   {mark} {text}"));
        }
        self.note(text, happened);
    }

    /// Whether everything happened as told.
    fn all_happened(&self) -> bool {
        self.steps.iter().all(|step| step.happened)
    }

    fn note(&mut self, text: &str, happened: bool) {
        if let Some(step) = self.steps.last_mut() {
            step.told.push(text.to_owned());
            step.happened &= happened;
        }
    }
}

/// Runs the demo; without `--once` it stays up afterwards, until Ctrl-C.
pub(crate) fn run(arguments: DemoArgs, output: &Output) -> Result<ExitCode, Fault> {
    let mut story = Story { quiet: output.is_json(), steps: Vec::new() };
    let mut cast = cast::Cast::assemble()?;
    scenes::play(&mut story, &mut cast)?;
    if output.is_json() {
        output.say(&story.steps, String::new)?;
    }
    if !story.all_happened() {
        return Err(Fault::unexpected("a step of the demo did not happen as told (see ✗ above)"));
    }
    if !arguments.once {
        scenes::stay(&mut cast)?;
    }
    Ok(ExitCode::SUCCESS)
}
