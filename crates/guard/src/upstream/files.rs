//! A directory of files as upstream: whole files and ranges of them, with validators (RFC 9110 sections 13 and 14).

mod conditions;
mod kinds;

use super::target::Target;
use super::{FilesSettings, UpstreamError, UpstreamErrorKind as Kind, UpstreamSettingsError, plain};
use crate::limits::nothing;
use crate::{Body, BodyError};
pub(crate) use conditions::fuzz;
use conditions::{Part, Validators, Wanted};
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

/// How much of a file is held at once.
const PIECE: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    index: Vec<String>,
}

/// What a path leads to.
enum Found {
    File(File, Validators, &'static str),
    /// A directory asked for without its slash.
    Directory,
    Nothing,
}

impl Files {
    pub(super) fn new(settings: &FilesSettings) -> Result<Self, UpstreamSettingsError> {
        let FilesSettings { root, index } = settings.clone();
        open_root(&root).map_err(|error| UpstreamSettingsError::Directory(root.clone(), error.into()))?;
        Ok(Self { root, index })
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Body>, UpstreamError> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED);
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Ok(answer);
        }
        let Some(target) = Target::read(request.uri().path()) else {
            return Ok(plain(StatusCode::NOT_FOUND));
        };
        let (root, index) = (self.root.clone(), self.index.clone());
        let found = tokio::task::spawn_blocking(move || find(&root, &index, &target)).await;
        match found {
            Ok(Ok(Found::File(file, validators, kind))) => serve(&request, file, &validators, kind),
            Ok(Ok(Found::Directory)) => Ok(redirect(&request)),
            Ok(Ok(Found::Nothing)) => Ok(plain(StatusCode::NOT_FOUND)),
            Ok(Err(_)) | Err(_) => Err(UpstreamError::unsent(Kind::Away)),
        }
    }
}

/// Looks a path up without ever leaving the directory: the kernel resolves it, and refuses what leads out, be it by a symbolic link.
fn find(root: &Path, index: &[String], target: &Target) -> io::Result<Found> {
    let root = open_root(root)?;
    let path = target.path(target.parts.len());
    if !target.is_directory {
        let found = open(&root, &path)?;
        return Ok(match found {
            Some(file) if file.metadata()?.is_dir() => Found::Directory,
            Some(file) => regular(file, &path)?,
            None => Found::Nothing,
        });
    }
    for name in index {
        let path = path.join(name);
        if let Some(file) = open(&root, &path)? {
            return regular(file, &path);
        }
    }
    Ok(Found::Nothing)
}

fn regular(file: File, path: &Path) -> io::Result<Found> {
    let about = file.metadata()?;
    if !about.is_file() {
        return Ok(Found::Nothing);
    }
    let kind = kinds::of(path);
    Ok(Found::File(file, Validators::of(&about), kind))
}

fn open_root(root: &Path) -> rustix::io::Result<rustix::fd::OwnedFd> {
    openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens what is there; nothing when it isn't, or isn't to be had.
fn open(root: &rustix::fd::OwnedFd, path: &Path) -> io::Result<Option<File>> {
    // Without blocking: a pipe in the directory must not hold anybody up.
    let how = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    match openat2(root, path, how, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS) {
        Ok(file) => Ok(Some(File::from(file))),
        Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::IO | Errno::NOSYS) => Err(io::ErrorKind::Other.into()),
        Err(_) => Ok(None),
    }
}

fn redirect(request: &Request<Body>) -> Response<Body> {
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut answer = plain(StatusCode::MOVED_PERMANENTLY);
    // A path that was found has no empty part, so that this never names another host.
    if let Ok(location) = HeaderValue::try_from(format!("{}/{query}", request.uri().path())) {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    answer
}

fn serve(
    request: &Request<Body>,
    file: File,
    validators: &Validators,
    kind: &'static str,
) -> Result<Response<Body>, UpstreamError> {
    let wanted = conditions::wanted(request.headers(), validators);
    let (status, part) = match wanted {
        Wanted::Whole => (StatusCode::OK, Some(Part { start: 0, length: validators.length })),
        Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, Some(part)),
        Wanted::NotModified => (StatusCode::NOT_MODIFIED, None),
        Wanted::Failed => (StatusCode::PRECONDITION_FAILED, None),
        Wanted::OutOfRange => (StatusCode::RANGE_NOT_SATISFIABLE, None),
    };
    let body = match part {
        Some(part) if request.method() == Method::GET => {
            stream(file, part).map_err(|_| UpstreamError::unsent(Kind::Broken))?
        }
        Some(_) | None => nothing(),
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let fields = answer.headers_mut();
    validators.tell(fields);
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(Part { start, length }) = part {
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        if status == StatusCode::PARTIAL_CONTENT {
            range(fields, format!("bytes {start}-{}/{}", start + length - 1, validators.length));
        }
    } else if status == StatusCode::RANGE_NOT_SATISFIABLE {
        range(fields, format!("bytes */{}", validators.length));
    }
    Ok(answer)
}

fn range(fields: &mut hyper::HeaderMap, text: String) {
    // Digits and signs are a valid value.
    if let Ok(value) = HeaderValue::try_from(text) {
        fields.insert(header::CONTENT_RANGE, value);
    }
}

/// A part of a file, piece by piece. A file that has become shorter breaks it off.
fn stream(mut file: File, Part { start, length }: Part) -> io::Result<Body> {
    if length == 0 {
        return Ok(nothing());
    }
    file.seek(SeekFrom::Start(start))?;
    let reader = tokio::fs::File::from_std(file).take(length);
    let pieces = ReaderStream::with_capacity(reader, PIECE).map_ok(Frame::data).map_err(|_| BodyError::Sender);
    Ok(StreamBody::new(pieces).boxed_unsync())
}
