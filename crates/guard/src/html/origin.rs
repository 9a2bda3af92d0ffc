//! Whether the address of a form leads back to the application itself (WHATWG URL, as far as it takes).

/// The characters that a browser strips at both ends of an address.
const ENDS: std::ops::RangeInclusive<u8> = 0..=b' ';

/// An origin, taken apart.
pub(super) struct Origin {
    scheme: Vec<u8>,
    /// Host and port, without the scheme's own port.
    authority: Vec<u8>,
}

/// What addresses without a host are relative to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// The page's own address.
    Own,
    /// A `<base>` that leads to the application itself.
    Set,
    /// A `<base>` that leads elsewhere.
    Foreign,
}

impl Origin {
    /// Reads an origin as browsers write it: `https://host` or `https://host:port`.
    pub(super) fn new(text: &str) -> Self {
        let (scheme, authority) = text.split_once("://").unwrap_or(("", text));
        let scheme = scheme.to_ascii_lowercase().into_bytes();
        let authority = normal(&scheme, authority.as_bytes());
        Self { scheme, authority }
    }

    /// Whether a request to this address, as written in an attribute, goes to this origin. When in doubt, it doesn't.
    pub(super) fn is_target(&self, address: &[u8], base: Base) -> bool {
        let address = clean(&decoded(address));
        let relative = base != Base::Foreign;
        let Some((scheme, rest)) = scheme_of(&address) else {
            return if slashes(&address) >= 2 { self.is_authority(&self.scheme, &address) } else { relative };
        };
        if !matches!(scheme.as_slice(), b"http" | b"https") {
            return false;
        }
        // `http:path` and `http:/path` are relative to a base of the same scheme.
        match slashes(rest) {
            0 | 1 if scheme == self.scheme => relative && base == Base::Own,
            _ => self.is_authority(&scheme, rest),
        }
    }

    fn is_authority(&self, scheme: &[u8], rest: &[u8]) -> bool {
        let rest = &rest[slashes(rest)..];
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'\\' | b'?' | b'#')).unwrap_or(rest.len());
        scheme == self.scheme && normal(scheme, &rest[..end]) == self.authority
    }
}

/// A value with its character references decoded: the numbers, and the names of the characters that shape an address.
pub(super) fn decoded(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(first) = rest.first() {
        match (*first == b'&').then(|| reference(&rest[1..])).flatten() {
            Some((character, length)) => {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[1 + length..];
            }
            None => {
                out.push(*first);
                rest = &rest[1..];
            }
        }
    }
    out
}

/// The character of the reference that `rest` begins with, after its `&`, and how long that is.
fn reference(rest: &[u8]) -> Option<(char, usize)> {
    let named: [(&[u8], char); 11] = [
        (b"amp;", '&'),
        (b"amp", '&'),
        (b"colon;", ':'),
        (b"sol;", '/'),
        (b"bsol;", '\\'),
        (b"Tab;", '\t'),
        (b"NewLine;", '\n'),
        (b"num;", '#'),
        (b"quest;", '?'),
        (b"period;", '.'),
        (b"commat;", '@'),
    ];
    if rest.first() != Some(&b'#') {
        return named.iter().find(|(name, _)| rest.starts_with(name)).map(|(name, character)| (*character, name.len()));
    }
    let hex = matches!(rest.get(1), Some(b'x' | b'X'));
    let (start, radix) = if hex { (2, 16) } else { (1, 10) };
    let digits = rest[start..].iter().take_while(|byte| char::from(**byte).is_digit(radix)).count();
    let text = std::str::from_utf8(&rest[start..start + digits]).ok()?;
    let number = u32::from_str_radix(text, radix).ok()?;
    let semicolon = usize::from(rest.get(start + digits) == Some(&b';'));
    Some((char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER), start + digits + semicolon))
}

/// Without what a browser strips from an address before it reads it.
fn clean(address: &[u8]) -> Vec<u8> {
    let start = address.iter().position(|byte| !ENDS.contains(byte)).unwrap_or(address.len());
    let end = address.iter().rposition(|byte| !ENDS.contains(byte)).map_or(start, |last| last + 1);
    address[start..end].iter().copied().filter(|byte| !matches!(byte, b'\t' | b'\n' | b'\r')).collect()
}

/// The scheme in lower case and what follows its colon.
fn scheme_of(address: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let colon = address.iter().position(|byte| *byte == b':')?;
    let (scheme, rest) = (&address[..colon], &address[colon + 1..]);
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic) && scheme.iter().all(part);
    is_scheme.then(|| (scheme.to_ascii_lowercase(), rest))
}

fn slashes(address: &[u8]) -> usize {
    address.iter().take_while(|byte| matches!(byte, b'/' | b'\\')).count()
}

/// Host and port in lower case, without the port that the scheme implies.
fn normal(scheme: &[u8], authority: &[u8]) -> Vec<u8> {
    let own_port: &[u8] = if scheme == b"https" { b":443" } else { b":80" };
    let authority = authority.to_ascii_lowercase();
    authority.strip_suffix(own_port).map(<[u8]>::to_vec).unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads_back(address: &str) -> bool {
        Origin::new("http://orders.localhost:8080").is_target(address.as_bytes(), Base::Own)
    }

    #[test]
    fn addresses_without_a_host_are_relative() {
        for own in ["", "/", "save", "?a=b", "#x", "a/b:c", "./a:b", " /x ", "/a\\b", "http:save", "http:/save", "1:2"]
        {
            assert!(leads_back(own), "{own:?}");
        }
        let origin = Origin::new("http://orders.localhost:8080");
        assert!(!origin.is_target(b"/save", Base::Foreign));
        assert!(!origin.is_target(b"", Base::Foreign));
        assert!(origin.is_target(b"http://orders.localhost:8080/save", Base::Foreign));
        assert!(origin.is_target(b"/save", Base::Set));
    }

    #[test]
    fn own_addresses_in_every_spelling() {
        for own in [
            "http://orders.localhost:8080",
            "HTTP://Orders.LOCALHOST:8080/save",
            "//orders.localhost:8080?x",
            "\\\\orders.localhost:8080\\x",
            "ht\ntp://orders.localhost:8080/",
            "http:&#x2F;&sol;orders.localhost:8080/",
            "http:///orders.localhost:8080/",
        ] {
            assert!(leads_back(own), "{own:?}");
        }
        assert!(Origin::new("https://a.example").is_target(b"https://a.example:443/x", Base::Own));
    }

    #[test]
    fn other_places() {
        for foreign in [
            "https://orders.localhost:8080/",
            "http://orders.localhost/",
            "http://orders.localhost:80800/",
            "//evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "/\t/evil.example",
            "&#47;&#x2f;evil.example",
            "/&sol;evil.example",
            "http&colon;//evil.example",
            "http://orders.localhost:8080@evil.example/",
            "http://user@orders.localhost:8080/",
            "javascript:x()",
            "mailto:a@b",
            "https:save",
            "ftp://orders.localhost:8080",
        ] {
            assert!(!leads_back(foreign), "{foreign:?}");
        }
    }

    #[test]
    fn references_are_decoded() {
        assert_eq!(decoded(b"a&amp;b&#112;&#x6F;&copy;&#99999999;&"), "a&bpo&copy;\u{fffd}&".as_bytes());
        assert_eq!(decoded(b"&#;&#x;&#xZ"), b"&#;&#x;&#xZ");
    }
}
