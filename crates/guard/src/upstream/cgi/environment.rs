//! What a CGI program is told (RFC 3875 section 4.1), and nothing else.

use super::Script;
use crate::headers::Caller;
use crate::path::target_of;
use hyper::HeaderMap;
use hyper::header::{self, HeaderName};
use hyper::http::request::Parts;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Fields with a variable of their own, and those that are none of a program's business (RFC 3875 section 4.1.18). `Proxy` is gone
/// already.
const NOT_PASSED: [HeaderName; 5] =
    [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::AUTHORIZATION, header::CONNECTION, header::TE];

/// The environment of one run.
pub(super) fn of(
    parts: &Parts,
    script: &Script,
    caller: &Caller<'_>,
    root: &Path,
    length: u64,
) -> BTreeMap<OsString, OsString> {
    let mut variables = fields(&parts.headers);
    let mut set = |name: &str, value: &dyn AsRef<OsStr>| variables.insert(name.into(), value.as_ref().to_owned());
    let own_port = if caller.outer().is_secure() { "443" } else { "80" };
    let (host, port) = match caller.outer_host.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        Some(_) | None => (caller.outer_host, own_port),
    };
    set("GATEWAY_INTERFACE", &"CGI/1.1");
    set("SERVER_PROTOCOL", &"HTTP/1.1");
    set("SERVER_SOFTWARE", &"vestibule");
    set("SERVER_NAME", &host);
    set("SERVER_PORT", &port);
    set("REQUEST_METHOD", &parts.method.as_str());
    set("REQUEST_URI", &target_of(&parts.uri));
    set("QUERY_STRING", &parts.uri.query().unwrap_or_default());
    set("SCRIPT_NAME", &script.name);
    set("SCRIPT_FILENAME", &script.file);
    set("DOCUMENT_ROOT", &root);
    set("PATH_INFO", &script.info);
    set("REMOTE_ADDR", &caller.address.to_string());
    set("REMOTE_USER", &caller.user.as_str());
    set("AUTH_TYPE", &"vestibule");
    set("PATH", &"/usr/local/bin:/usr/bin:/bin");
    // PHP runs only when told that a server called it.
    set("REDIRECT_STATUS", &"200");
    if caller.outer().is_secure() {
        set("HTTPS", &"on");
    }
    if length > 0 {
        set("CONTENT_LENGTH", &length.to_string());
    }
    if let Some(kind) = parts.headers.get(header::CONTENT_TYPE) {
        set("CONTENT_TYPE", &OsStr::from_bytes(kind.as_bytes()));
    }
    variables
}

/// Each field as `HTTP_NAME`. One with `_` in its name could pass for another, and is left out.
fn fields(fields: &HeaderMap) -> BTreeMap<OsString, OsString> {
    let mut variables = BTreeMap::new();
    for name in fields.keys().filter(|name| !name.as_str().contains('_') && !NOT_PASSED.contains(name)) {
        let values: Vec<&[u8]> = fields.get_all(name).iter().map(|value| value.as_bytes()).collect();
        let variable = format!("HTTP_{}", name.as_str().to_ascii_uppercase().replace('-', "_"));
        variables.insert(variable.into(), OsStr::from_bytes(&values.join(&b", "[..])).to_owned());
    }
    variables
}
