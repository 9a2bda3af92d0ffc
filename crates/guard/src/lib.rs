//! The page guard: a reverse proxy that re-authenticates every page of existing web applications, runs each command at most
//! once, and lets a user do only what the policy grants, without a change to the application.
//!
//! It knows HTTP and nothing of knocks: who a connection belongs to is told from outside, or proven by a login of its own.

mod address;
mod audit;
mod beside;
mod body;
pub mod carried;
pub mod charset;
pub mod classify;
pub mod coding;
mod counts;
pub mod coverage;
pub mod csp;
mod entry;
pub mod fault;
pub mod fuzzing;
mod guard;
mod headers;
pub mod html;
mod kept;
mod limits;
mod names;
mod once;
mod pages;
pub mod path;
mod proxy_protocol;
pub mod script;
mod server;
mod sessions;
mod settings;
mod stamp;
pub mod store;
mod token;
mod upstream;
mod users;
mod visit;
mod websocket;

pub use address::{AddressTable, Exhausted, InvalidNetwork, Network, Order, Pool};
pub use audit::{Audit, AuditOutcome, AuditQuery, AuditSettings, Entry};
pub use beside::{Files, Recorded};
pub use body::{Body, BodyError};
pub use entry::EntryKey;
pub use guard::{AppError, Guard, GuardError, GuardSettings, Peer, PortalLink, Standing, Tunnel, TunnelSession};
pub use headers::cookies::{COOKIE, PLAIN_COOKIE};
pub use headers::{Caller, USER_FIELD};
pub use limits::{Limits, cut_when};
pub use names::{AppName, Binding, InvalidName, LogicalAddress, Proof, Serial, UserName};
pub use once::{
    About, ActionId, Answer, Beginning, Begun, Captured, ClaimName, Claimed, CommandName, Done, Extent, Interrupted,
    InvalidAction, Once, OnceError, OnceKey, OnceSettings, Outcome, Repeat, Running, StoredAnswer, Waiting,
};
pub use proxy_protocol::{ProxyProtocolError, accept as accept_proxy_protocol};
pub use server::serve_connection;
pub use sessions::{BeginError, Gone, Live, Newcomer, PoolSettings, Selector, Session, SessionSettings, Sessions};
pub use settings::{AppSettings, Backend, GuardConfig, ModeConfig, OncePer, Reads, SettingsError};
pub use stamp::Stamp;
pub use token::{
    CLOCK_SLACK, Context, KeyRecord, Keyring, KeyringSettings, NONCE_LEN, Page, PageKeys, PageToken, SealedGrants,
    TOKEN_LONGEST, TokenError, source_of,
};
pub use upstream::{
    CgiSettings, FilesSettings, HostHeader, HttpSettings, InvalidAddress, Source, Upstream, UpstreamError,
    UpstreamErrorKind, UpstreamSettings, UpstreamSettingsError,
};
pub use users::{LoginError, PASSWORD_LONGEST, PasswordError, User, UserError, Users, UsersSettings};
pub use websocket::Handshake;
