//! Running other programs.

use std::{
    env,
    error::Error,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
};

/// What the tasks return; the text is for the person at the terminal.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The root of the tree.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// A cargo command in the root of the tree, without what `cargo run` told this program about itself.
pub(crate) fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(root()).stdin(Stdio::null());
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    command
}

/// Runs it in front of the person; whether it ended with exit code 0.
///
/// # Errors
/// It can't be started.
pub(crate) fn run(command: &mut Command) -> Result<bool> {
    announce(command);
    Ok(command.status().map_err(|error| not_started(command, &error))?.success())
}

/// As [`run`], and gives each line of what it prints to `take`.
///
/// # Errors
/// It can't be started.
pub(crate) fn run_reading(command: &mut Command, take: impl FnMut(&str) + Send) -> Result<bool> {
    announce(command);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| not_started(command, &error))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let take = Mutex::new(take);
    thread::scope(|scope| {
        scope.spawn(|| stdout.map(|stdout| copy_lines(stdout, std::io::stdout(), &take)));
        scope.spawn(|| stderr.map(|stderr| copy_lines(stderr, std::io::stderr(), &take)));
    });
    Ok(child.wait()?.success())
}

/// Whether it can be started and ends with exit code 0; what it prints is thrown away.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// What it prints on standard output. What it says on standard error is shown if it fails.
///
/// # Errors
/// It can't be started, ends with another exit code than 0, or prints no UTF-8.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|error| not_started(command, &error))?;
    if !output.status.success() {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        return Err(format!("{} failed ({})", words(command), output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The path of a program: in the search path, or where only root looks for programs.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(sbin).map(|dir| dir.join(program)).find(|path| path.is_file())
}

fn copy_lines(from: impl Read, mut to: impl Write, take: &Mutex<impl FnMut(&str)>) {
    for line in BufReader::new(from).split(b'\n').map_while(std::result::Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let _ = writeln!(to, "{line}");
        if let Ok(mut take) = take.lock() {
            take(&line);
        }
    }
}

fn announce(command: &Command) {
    println!("$ {}", words(command));
}

fn words(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    command.get_args().fold(program.into_owned(), |words, word| words + " " + &word.to_string_lossy())
}

fn not_started(command: &Command, error: &std::io::Error) -> String {
    format!("can't run {}: {error}", words(command))
}
