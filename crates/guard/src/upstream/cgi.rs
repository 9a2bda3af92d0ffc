//! A directory of CGI/1.1 programs as upstream (RFC 3875).

mod answer;
mod environment;

use super::target::Target;
use super::{CgiSettings, UpstreamError, UpstreamErrorKind as Kind, UpstreamSettingsError, plain};
use crate::headers::origin::Mapping;
use crate::headers::{self, Caller};
use crate::{Body, BodyError, upstream::Base};
use answer::Output;
pub(crate) use answer::fuzz;
use http_body_util::{BodyExt, Limited};
use hyper::body::Body as HttpBody;
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, ResolveFlags, accessat, openat, openat2};
use rustix::process::{Pid, Signal, kill_process_group};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, Command};

/// The most bytes of a body whose length isn't told: a program is told it before it starts.
const UNMEASURED: usize = 1 << 20;
/// The most bytes of what a program says on its standard error that are logged.
const COMPLAINTS: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Cgi {
    root: PathBuf,
    timeout: Duration,
}

/// A program, and how the request's path names it.
pub(super) struct Script {
    /// Where it lies.
    pub(super) file: PathBuf,
    /// The part of the path that names it.
    pub(super) name: String,
    /// What follows, decoded.
    pub(super) info: String,
}

/// A program's process group; killed with all in it when this goes out of use before [`Self::release`].
pub(super) struct Group(Option<Pid>);

impl Cgi {
    pub(super) fn new(settings: &CgiSettings) -> Result<Self, UpstreamSettingsError> {
        let failed = |error| UpstreamSettingsError::Directory(settings.directory.clone(), error);
        let root = settings.directory.canonicalize().map_err(failed)?;
        if !root.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        Ok(Self { root, timeout: settings.timeout })
    }

    pub(super) async fn send(
        &self,
        request: Request<Body>,
        caller: &Caller<'_>,
    ) -> Result<Response<Body>, UpstreamError> {
        let (mut parts, body) = request.into_parts();
        let Some(script) = Target::read(parts.uri.path()).and_then(|target| find(&self.root, &target)) else {
            return Ok(plain(StatusCode::NOT_FOUND));
        };
        let bases = [outer(caller)?];
        let mapping = Mapping { outer: caller.outer(), bases: &bases, nth: 0, host_is_outer: true };
        headers::to_upstream(&mut parts.headers, &parts.method, false, caller, &mapping);
        let (body, length) = measured(body).await?;
        let mut output = self.start(&parts, &script, caller, body, length)?;
        let mut answer = match output.head(self.timeout).await {
            Ok(fields) => answer::understood(fields).ok_or(UpstreamError::sent(Kind::BadAnswer))?,
            Err(kind) => return Err(UpstreamError::sent(kind)),
        };
        headers::to_client(answer.headers_mut(), &mapping);
        Ok(answer.map(|()| output.body(self.timeout)))
    }

    fn start(
        &self,
        parts: &Parts,
        script: &Script,
        caller: &Caller<'_>,
        body: Body,
        length: u64,
    ) -> Result<Output, UpstreamError> {
        let mut command = Command::new(&script.file);
        command
            .env_clear()
            .envs(environment::of(parts, script, caller, &self.root, length))
            .current_dir(script.file.parent().unwrap_or(&self.root))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().map_err(|_| UpstreamError::unsent(Kind::Away))?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let group = Group(pid);
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(UpstreamError::sent(Kind::Broken));
        };
        tokio::spawn(feed(stdin, body, pid));
        tokio::spawn(log(stderr, script.name.clone()));
        Ok(Output::new(child, stdout, group))
    }
}

/// Finds the program: the first part of the path that is a file. The kernel resolves it, and refuses what leads out of the directory.
fn find(root: &Path, target: &Target) -> Option<Script> {
    let directory = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    for count in 1..=target.parts.len() {
        let path = target.path(count);
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let found = openat2(&directory, &path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve).ok()?;
        let about = std::fs::File::from(found).metadata().ok()?;
        if about.is_dir() {
            continue;
        }
        let file = root.join(&path);
        let runs = about.is_file() && accessat(CWD, &file, Access::EXEC_OK, AtFlags::EACCESS).is_ok();
        return runs.then(|| Script { file, name: slashed(target, 0..count), info: info(target, count) });
    }
    None
}

fn info(target: &Target, count: usize) -> String {
    let info = slashed(target, count..target.parts.len());
    if target.is_directory { format!("{info}/") } else { info }
}

fn slashed(target: &Target, parts: std::ops::Range<usize>) -> String {
    target.parts[parts].iter().map(|part| format!("/{}", part.to_string_lossy())).collect()
}

/// What the browser knows the application by, as an address: programs redirect to it.
fn outer(caller: &Caller<'_>) -> Result<Base, UpstreamError> {
    let text = format!("{}://{}", caller.outer_scheme, caller.outer_host);
    Base::parse(&text).map_err(|_| UpstreamError::unsent(Kind::Away))
}

/// The body and its length; one whose length isn't told is read first.
async fn measured(body: Body) -> Result<(Body, u64), UpstreamError> {
    if let Some(length) = body.size_hint().exact() {
        return Ok((body, length));
    }
    let whole = Limited::new(body, UNMEASURED).collect().await.map_err(|error| {
        let broken = error.downcast_ref::<BodyError>().copied().unwrap_or(BodyError::TooLarge);
        UpstreamError::unsent(Kind::Request(broken))
    })?;
    let bytes = whole.to_bytes();
    let length = bytes.len() as u64;
    Ok((http_body_util::Full::new(bytes).map_err(|never| match never {}).boxed_unsync(), length))
}

/// Feeds the body to the program. When it breaks off the program is killed: its input must not look whole.
async fn feed(mut stdin: ChildStdin, mut body: Body, group: Option<Pid>) {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            drop(Group(group));
            return;
        };
        if let Ok(data) = frame.into_data()
            && stdin.write_all(&data).await.is_err()
        {
            // It reads no further, as it may.
            return;
        }
    }
}

/// Logs what a program complains of, up to a limit; reads the rest all the same, as a full pipe would stop it.
async fn log(mut stderr: ChildStderr, name: String) {
    let (mut piece, mut left) = (vec![0; 4 * 1024], COMPLAINTS);
    while let Ok(read @ 1..) = stderr.read(&mut piece).await {
        let said = &piece[..read.min(left)];
        if !said.is_empty() {
            tracing::warn!(program = %name, says = %String::from_utf8_lossy(said), "a CGI program complains");
        }
        left -= said.len();
    }
}

impl Group {
    /// The program has ended by itself; what it left behind may go on.
    pub(super) fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.take() {
            // It fails only when nobody is left in it.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
