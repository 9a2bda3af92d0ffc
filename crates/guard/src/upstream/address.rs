//! Where an upstream answers.

use hyper::Uri;
use thiserror::Error;

/// One address of an upstream, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Base {
    /// Whether it speaks TLS.
    pub(crate) secure: bool,
    /// Host name or address, without brackets.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
    /// Host as in its `Host` field: with the port where that isn't the scheme's own.
    pub(crate) authority: String,
    /// Path that goes before every path, without a slash at its end; mostly nothing.
    pub(crate) prefix: String,
}

/// The text isn't the address of an upstream.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0:?} is not the address of an upstream, as http://10.0.0.8:8000 or https://app.example")]
pub struct InvalidAddress(String);

impl Base {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidAddress> {
        parse(text).ok_or_else(|| InvalidAddress(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Base> {
    let uri: Uri = text.parse().ok()?;
    let secure = match uri.scheme_str()? {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let authority = uri.authority()?;
    let own_port = if secure { 443 } else { 80 };
    let port = match authority.as_str().rsplit_once(':') {
        Some((_, digits)) if !digits.ends_with(']') => digits.parse().ok().filter(|&port| port > 0)?,
        Some(_) | None => own_port,
    };
    let host = authority.host();
    if host.is_empty() || authority.as_str().contains('@') || uri.query().is_some() {
        return None;
    }
    Some(Base {
        secure,
        host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port,
        authority: if port == own_port { host.to_owned() } else { format!("{host}:{port}") },
        prefix: uri.path().trim_end_matches('/').to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let base = Base::parse("http://10.0.0.8:8000").unwrap();
        assert_eq!((base.secure, base.host.as_str(), base.port, base.prefix.as_str()), (false, "10.0.0.8", 8000, ""));
        assert_eq!(base.authority, "10.0.0.8:8000");
        let base = Base::parse("https://[fd00::1]/app/").unwrap();
        assert_eq!((base.secure, base.host.as_str(), base.port, base.prefix.as_str()), (true, "fd00::1", 443, "/app"));
        assert_eq!(base.authority, "[fd00::1]");
        assert_eq!(Base::parse("https://app.example:443").unwrap().authority, "app.example");
        for bad in
            ["10.0.0.8:8000", "ftp://x", "http://", "http://a@b", "http://a:0", "http://a:99999", "http://a/?b", ""]
        {
            assert!(Base::parse(bad).is_err(), "{bad}");
        }
    }
}
