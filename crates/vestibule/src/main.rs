//! `vestibule`: the one program that holds all roles.
//!
//! It reads the command line and the configuration, wires the roles, prints, and turns errors into exit codes. No protocol and no policy
//! stands here.

mod admin;
mod cli;
mod config;
mod demo;
mod directories;
mod fault;
mod guard;
mod logging;
mod output;
mod password;
mod roles;
mod user;

use cli::{Cli, Command};
use fault::Fault;
use std::process::ExitCode;

fn main() -> ExitCode {
    harden();
    demo::end_with_the_demo();
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are printed to stdout with code 0, everything else to stderr with code 2.
            let code = error.exit_code();
            let _ = error.print();
            return ExitCode::from(u8::try_from(code).unwrap_or(fault::USAGE));
        }
    };
    match run(cli) {
        Ok(code) => code,
        Err(fault) => fault.report(),
    }
}

/// Keys and passwords pass through this process: no core dump, and no other process of the same user may read its memory.
fn harden() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

fn run(cli: Cli) -> Result<ExitCode, Fault> {
    let output = output::Output::new(cli.json);
    match cli.command {
        Command::Controller(command) => roles::controller::run(command, &output),
        Command::Gateway(command) => roles::gateway::run(command, &output),
        Command::User(_) | Command::Device(_) | Command::Invite(_) | Command::Service(_) | Command::Session(_) => {
            admin::run(cli.command, &output)
        }
        Command::Audit(ref arguments) => match &arguments.app {
            Some(app) => guard::audit(arguments, &app.0, &output),
            None => admin::run(cli.command, &output),
        },
        Command::Guard(arguments) => guard::run(*arguments, &output),
        Command::Enroll(arguments) => user::enroll::run(arguments, &output),
        Command::Passwd(arguments) => user::passwd::run(&arguments, &output),
        Command::Up(arguments) => user::up::run(arguments, &output),
        Command::Down(arguments) => user::agent::down(arguments, &output),
        Command::Status(arguments) => user::agent::status(arguments, &output),
        Command::Services(arguments) => user::agent::services(arguments, &output),
        Command::Devices(arguments) => user::devices::run(arguments, &output),
        Command::Pipe(arguments) => user::pipe::run(arguments, &output),
        Command::Forward(arguments) => user::forward::run(arguments, &output),
        Command::Why(arguments) => user::why::run(arguments, &output),
        Command::Selftest(arguments) => user::selftest::run(&arguments, &output),
        Command::Check(arguments) => config::check::run(arguments, &output),
        Command::Demo(arguments) => demo::run(arguments, &output),
        Command::DemoUpstream { sample, address } => demo::upstream::serve(sample, address),
        Command::Completions { shell } => cli::documents::completions(shell),
        Command::Man { folder } => cli::documents::man(&folder),
    }
}
