//! The texts that go in.

use super::Plan;

/// About how long the script's element is without the token.
const ELEMENT: usize = 160;

/// The guard's script as a page names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScriptTag {
    /// Its address: a path from the root, with the content's digest.
    pub src: String,
    /// The nonce of the page's own policy.
    pub nonce: Option<String>,
    /// The digest of the script, where the policy lets it run by that.
    pub integrity: Option<String>,
}

/// Everything as far as it is the same for the whole page. All of it is ASCII, and well-formed as XML too.
pub(super) struct Insertions {
    plan: Plan,
    /// The token as the value of an attribute.
    token: String,
}

impl Insertions {
    pub(super) fn new(plan: Plan) -> Self {
        Self { token: escaped(&plan.token), plan }
    }

    pub(super) fn script(&self) -> String {
        let script = self.plan.script.as_ref().filter(|_| self.plan.whole_page);
        script.map(|script| self.element(script, "")).unwrap_or_default()
    }

    /// The script's element as it is written inside an attribute's value, quoted in any way or not at all, with an address that no
    /// `<base>` changes.
    pub(super) fn script_in_attribute(&self) -> Option<String> {
        self.plan.script.as_ref().map(|script| references(&self.element(script, &self.plan.own_origin)))
    }

    /// The field of the page's form of that number; `owner`: the id of the form, as written, where the field is outside of it.
    pub(super) fn field(&self, number: u32, owner: Option<&[u8]>) -> String {
        let form = owner.map(|id| format!(" form=\"{}\"", as_value(id))).unwrap_or_default();
        let token = &self.token;
        format!(r#"<input type="hidden" name=".vestibule" value="{token}.f{number}"{form} autocomplete="off"/>"#)
    }

    /// The token stands in the element itself: no policy forbids that, and the script takes the element away as soon as it runs.
    fn element(&self, script: &ScriptTag, origin: &str) -> String {
        let mut text = String::with_capacity(ELEMENT + self.token.len());
        let mut attribute = |name: &str, values: &[&str]| {
            text.push_str(name);
            values.iter().for_each(|value| text.push_str(value));
            text.push('"');
        };
        attribute("<script src=\"", &[&escaped(origin), &escaped(&script.src)]);
        attribute(" data-page=\"", &[&self.token]);
        if !self.plan.reads.is_empty() {
            attribute(" data-reads=\"", &[&escaped(&self.plan.reads.join("\n"))]);
        }
        if let Some(nonce) = &script.nonce {
            attribute(" nonce=\"", &[&escaped(nonce)]);
        }
        if let Some(integrity) = &script.integrity {
            attribute(" integrity=\"", &[&escaped(integrity)]);
        }
        text.push_str("></script>");
        text
    }
}

/// As the value of an attribute in double quotes; characters outside of ASCII as references, so that the encoding is no matter.
fn escaped(text: &str) -> String {
    let plain =
        |character: char| (' '..='~').contains(&character) && !matches!(character, '"' | '&' | '<' | '>' | '\'');
    with_references(text, plain)
}

/// Everything but letters and digits as references.
fn references(text: &str) -> String {
    with_references(text, |character| character.is_ascii_alphanumeric())
}

fn with_references(text: &str, plain: impl Fn(char) -> bool) -> String {
    // No byte of a character outside of ASCII is a plain character.
    if text.bytes().all(|byte| plain(char::from(byte))) {
        return text.to_owned();
    }
    let mut written = String::with_capacity(text.len());
    for character in text.chars() {
        if plain(character) {
            written.push(character);
        } else {
            written.push_str(&format!("&#{};", u32::from(character)));
        }
    }
    written
}

/// A value copied as written, references and all, into double quotes.
fn as_value(raw: &[u8]) -> String {
    // Bytes over ASCII keep their meaning only in the page's own encoding; an id that has them is left without a field.
    let text = std::str::from_utf8(raw).ok().filter(|text| text.is_ascii()).unwrap_or_default();
    text.replace('"', "&#34;").replace('<', "&#60;").replace('>', "&#62;")
}
