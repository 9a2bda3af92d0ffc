//! What stands behind the guard: an HTTP server, a directory of CGI programs, a directory of files.

mod address;
mod cgi;
mod dial;
mod files;
mod held;
mod http;
mod pool;
mod progress;
mod target;

use crate::headers::Caller;
use crate::limits::nothing;
use crate::{Body, BodyError};
use hyper::{Request, Response, StatusCode};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

pub(crate) use address::Base;
pub use address::InvalidAddress;
pub(crate) use cgi::fuzz as fuzz_cgi_head;
pub(crate) use files::fuzz as fuzz_conditions;

/// What an application's upstream is (PAGEGUARD section 6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UpstreamSettings {
    /// A web server.
    Http(HttpSettings),
    /// A directory of CGI/1.1 programs.
    Cgi(CgiSettings),
    /// A directory of files.
    Files(FilesSettings),
}

/// A directory of CGI programs as upstream. The first part of a path that is a file is the program; what follows is its `PATH_INFO`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CgiSettings {
    /// The directory; a path in it that leads out of it, also by a symbolic link, is not found.
    pub directory: PathBuf,
    /// How long a program may take until its answer begins, and be silent after that; then it is killed.
    pub timeout: Duration,
}

/// A directory of files as upstream: what is in it can be read by `GET` and `HEAD`. There are no listings, and nothing whose name
/// begins with a dot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FilesSettings {
    /// The directory; a path in it that leads out of it, also by a symbolic link, is not found.
    pub root: PathBuf,
    /// What is served for a directory: the first of these that is there.
    pub index: Vec<String>,
}

/// A web server as upstream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpSettings {
    /// Where it answers: `http://` or `https://`, host, port and perhaps a path. Several are tried in turn; a session stays
    /// with one of them as long as that answers.
    pub addresses: Vec<String>,
    /// PEM file of the authorities that may vouch for it; without, those of the system.
    pub ca: Option<PathBuf>,
    /// What it is told as its own name.
    pub host: HostHeader,
    /// How long it may take to accept a connection, TLS included.
    pub connect_timeout: Duration,
    /// How long it may leave a request without an answer, counted from the last byte of the request that it took.
    pub first_byte_timeout: Duration,
    /// Whether to speak HTTP/2: agreed on by ALPN over `https`, without asking over `http`.
    pub h2: bool,
    /// The address that its connections come from.
    pub source: Source,
    /// Whether each connection begins with a PROXY protocol header, version 2, that names the logical address.
    pub proxy_protocol: bool,
    /// The most connections at once to each of its addresses.
    pub connections: usize,
}

/// What an upstream is told as its own name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HostHeader {
    /// The host that the browser asked for.
    #[default]
    Outer,
    /// The host of the upstream's own address; `Origin`, `Referer` and `Destination` are mapped with it.
    Upstream,
}

/// The address that an upstream's connections come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Source {
    /// This host's own.
    #[default]
    Own,
    /// The session's logical address, where this host routes the pool to itself; connections then serve one session only.
    Logical,
}

impl UpstreamSettings {
    /// The hosts of its own addresses, in small letters, IPv6 without brackets; directories have none.
    pub(crate) fn hosts(&self) -> Vec<String> {
        match self {
            Self::Http(http) => {
                let bases = http.addresses.iter().filter_map(|text| Base::parse(text).ok());
                bases.map(|base| base.host.to_ascii_lowercase()).collect()
            }
            Self::Cgi(_) | Self::Files(_) => Vec::new(),
        }
    }
}

/// An upstream that requests can be sent to; shared by all requests to its application.
#[derive(Debug)]
pub struct Upstream(Kind);

#[derive(Debug)]
enum Kind {
    Http(http::Http),
    Cgi(cgi::Cgi),
    Files(files::Files),
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("{kind} ({})", if *.sent { "it may have got the request" } else { "it did not get the request" })]
pub struct UpstreamError {
    /// What went wrong.
    pub kind: UpstreamErrorKind,
    /// Whether a byte of the request may have reached the application. Only when none has may the same request be sent again.
    pub sent: bool,
}

/// What went wrong with an upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum UpstreamErrorKind {
    /// It refuses connections, can't be reached, or can't prove who it is.
    #[error("the upstream is away")]
    Away,
    /// It does not answer in time.
    #[error("the upstream does not answer in time")]
    Hangs,
    /// It broke off before its answer began.
    #[error("the upstream broke off")]
    Broken,
    /// What it answered is not HTTP, or larger than allowed.
    #[error("the upstream's answer makes no sense")]
    BadAnswer,
    /// It has as many requests as it may have at once.
    #[error("the upstream is busy")]
    TooMany,
    /// Not its fault: the request's path could lead out of the part of the server that its address names.
    #[error("the path could lead out of the upstream's own")]
    Path,
    /// Not its fault: the request's own body broke off.
    #[error("the request broke off: {0}")]
    Request(BodyError),
}

/// Why an upstream can't be set up.
#[derive(Debug, Error)]
pub enum UpstreamSettingsError {
    /// No address at all.
    #[error("an upstream needs at least one address")]
    NoAddress,
    /// An address that isn't one.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// The authorities can't be read.
    #[error("can't read the authorities in {0}: {1}")]
    Authorities(PathBuf, io::Error),
    /// A directory that isn't one, or can't be entered.
    #[error("can't use the directory {0}: {1}")]
    Directory(PathBuf, io::Error),
    /// TLS can't be set up.
    #[error("can't set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl HttpSettings {
    /// What is usual for these addresses.
    pub fn new(addresses: Vec<String>) -> Self {
        Self {
            addresses,
            ca: None,
            host: HostHeader::default(),
            connect_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_secs(120),
            h2: false,
            source: Source::default(),
            proxy_protocol: false,
            connections: 512,
        }
    }
}

impl Upstream {
    /// Sets an upstream up; nothing is connected to yet.
    ///
    /// # Errors
    /// The settings make no sense, or name what isn't there.
    pub fn from_settings(settings: &UpstreamSettings) -> Result<Self, UpstreamSettingsError> {
        Ok(Self(match settings {
            UpstreamSettings::Http(settings) => Kind::Http(http::Http::new(settings)?),
            UpstreamSettings::Cgi(settings) => Kind::Cgi(cgi::Cgi::new(settings)?),
            UpstreamSettings::Files(settings) => Kind::Files(files::Files::new(settings)?),
        }))
    }

    /// Sends a request, in origin form as [`crate::serve_connection`] hands it over, and gives the answer as soon as its head is
    /// there. The fields that tell who asks are set here, those that would lie about it are taken away.
    ///
    /// A request is sent again (to the next address, or on a new connection) only when not one byte of it was sent, or when
    /// it is safe, has no body, may arrive twice, and met a connection that was being closed. `once`: it may not arrive twice,
    /// whatever its method.
    ///
    /// # Errors
    /// No answer, with what is known about whether the request arrived.
    pub async fn send(
        &self,
        request: Request<Body>,
        caller: &Caller<'_>,
        once: bool,
    ) -> Result<Response<Body>, UpstreamError> {
        match &self.0 {
            Kind::Http(http) => http.send(request, caller, once).await,
            Kind::Cgi(cgi) => cgi.send(request, caller).await,
            Kind::Files(files) => files.send(request).await,
        }
    }
}

impl UpstreamError {
    pub(crate) fn unsent(kind: UpstreamErrorKind) -> Self {
        Self { kind, sent: false }
    }

    pub(crate) fn sent(kind: UpstreamErrorKind) -> Self {
        Self { kind, sent: true }
    }
}

/// An answer of an upstream's that has no words of its own for it.
fn plain(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(nothing());
    *answer.status_mut() = status;
    answer
}
