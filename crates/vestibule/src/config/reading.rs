//! From a file's text to a typed configuration, with errors that point at the line.

use crate::fault::Fault;
use serde::de::DeserializeOwned;
use std::io::Read;
use std::path::Path;

/// A larger file is no configuration, in bytes.
const LIMIT: u64 = 1024 * 1024;

/// A configuration whose values can be wrong together, each being right by itself.
pub(crate) trait Checked {
    /// Whether the values make sense together.
    ///
    /// # Errors
    /// Exit code 40 and what is wrong; [`load`] adds the file.
    fn check(&self) -> Result<(), Fault>;
}

/// Reads, parses and checks the file at `path`.
///
/// # Errors
/// Exit code 40 with file, line, and the nearest known key; 41 when the file can't be read.
pub(crate) fn load<T: DeserializeOwned + Checked>(path: &Path) -> Result<T, Fault> {
    let config: T = parse(&read(path)?, &path.display().to_string())?;
    config.check().map_err(|fault| fault.in_file(path))?;
    Ok(config)
}

fn read(path: &Path) -> Result<String, Fault> {
    let unreadable = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            return Fault::configuration(format!("there is no {}", path.display()));
        }
        Fault::files(format!("{} can't be read: {error}", path.display()))
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(LIMIT + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > LIMIT {
        return Err(Fault::configuration(format!("{} is larger than 1 MiB", path.display())));
    }
    Ok(text)
}

/// Parses the text of the file called `name`.
///
/// # Errors
/// Exit code 40 with file, line, and the nearest known key.
pub(crate) fn parse<T: DeserializeOwned>(text: &str, name: &str) -> Result<T, Fault> {
    let error = match toml::from_str(text) {
        Ok(config) => return Ok(config),
        Err(error) => error,
    };
    let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
    let source = text.lines().nth(line - 1).unwrap_or("").trim();
    let fault = match Unknown::told_by(error.message()) {
        Some(unknown) => {
            let Unknown { what, word, known } = &unknown;
            let fault = Fault::configuration(format!("{name}, line {line}: there is no {what} `{word}`"));
            match nearest(word, known) {
                Some(near) => fault.next(format!("did you mean `{near}`?")),
                None => fault.next(format!("known {what}s here: {}", known.join(", "))),
            }
        }
        None => Fault::configuration(format!("{name}, line {line}: {}", error.message())),
    };
    Err(if source.is_empty() { fault } else { fault.detail(source.to_owned()) })
}

/// A word that is not among the known ones.
struct Unknown {
    /// `key` or `value`.
    what: &'static str,
    word: String,
    known: Vec<String>,
}

impl Unknown {
    /// Out of serde's sentence about an unknown field or variant.
    fn told_by(message: &str) -> Option<Self> {
        let field = message.strip_prefix("unknown field ").map(|rest| ("key", rest));
        let (what, rest) = field.or_else(|| message.strip_prefix("unknown variant ").map(|rest| ("value", rest)))?;
        let mut quoted = rest.split('`').skip(1).step_by(2).map(str::to_owned);
        let word = quoted.next()?;
        Some(Self { what, word, known: quoted.collect() })
    }
}

/// The known key that the person most likely meant.
fn nearest<'a>(key: &str, known: &'a [String]) -> Option<&'a String> {
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(key, known), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ControllerConfig, GatewayConfig};

    fn refusal<T: DeserializeOwned>(text: &str) -> Fault {
        match parse::<T>(text, "file.toml") {
            Ok(_) => panic!("accepted: {text}"),
            Err(fault) => fault,
        }
    }

    #[test]
    fn an_unknown_key_names_its_line_and_the_nearest_known() {
        let fault = refusal::<ControllerConfig>("public = [\"c.example:4433\"]\n\nlisten_ = [\"[::]:4433\"]\n");
        assert_eq!(fault.headline, "file.toml, line 3: there is no key `listen_`");
        assert_eq!(fault.next.as_deref(), Some("did you mean `listen`?"));
    }

    #[test]
    fn an_unknown_key_inside_a_service_names_its_line() {
        let fault = refusal::<GatewayConfig>(
            "listen = [\"[::]:1\"]\npublic = [\"[::1]:1\"]\n[services.db]\ntcp = \"h:1\"\nalow = [\"everyone\"]\n",
        );
        assert_eq!(fault.headline, "file.toml, line 5: there is no key `alow`");
        assert_eq!(fault.next.as_deref(), Some("did you mean `allow`?"));
    }

    #[test]
    fn a_key_like_no_other_lists_what_is_known() {
        let fault = refusal::<ControllerConfig>("public = [\"c.example:4433\"]\nzzzzzzzzzz = 1\n");
        assert!(fault.next.unwrap().starts_with("known keys here: listen"));
    }

    #[test]
    fn a_value_that_is_none_of_a_few_is_not_called_a_key() {
        let fault = refusal::<GatewayConfig>("listen = [\"[::]:1\"]\npublic = [\"[::1]:1\"]\nnat = \"folow\"\n");
        assert_eq!(fault.headline, "file.toml, line 3: there is no value `folow`");
        assert_eq!(fault.next.as_deref(), Some("did you mean `follow`?"));
    }

    #[test]
    fn a_wrong_value_names_its_line() {
        let fault = refusal::<ControllerConfig>("public = [\"c:1\"]\nlisten = [\"nonsense\"]\n");
        assert!(fault.headline.starts_with("file.toml, line 2:"), "{}", fault.headline);
    }

    #[test]
    fn broken_toml_names_its_line() {
        let fault = refusal::<ControllerConfig>("listen = [\n\n\"x\"\n= 3\n");
        assert!(fault.headline.starts_with("file.toml, line"), "{}", fault.headline);
        assert_eq!(fault.code, crate::fault::CONFIGURATION);
    }
}
