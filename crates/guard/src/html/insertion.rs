//! The texts that go in.

use super::Plan;

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
    script: Option<String>,
    /// The same with an address that no `<base>` changes, for documents inside attributes.
    script_anywhere: Option<String>,
    token: String,
}

impl Insertions {
    pub(super) fn new(plan: &Plan) -> Self {
        let tag = plan.script.as_ref().map(|script| element(script, "", plan));
        let anywhere = plan.script.as_ref().map(|script| element(script, &plan.own_origin, plan));
        Self { script: tag.filter(|_| plan.whole_page), script_anywhere: anywhere, token: escaped(&plan.token) }
    }

    pub(super) fn script(&self) -> String {
        self.script.clone().unwrap_or_default()
    }

    /// The script's element as it is written inside an attribute's value, quoted in any way or not at all.
    pub(super) fn script_in_attribute(&self) -> Option<String> {
        self.script_anywhere.as_deref().map(references)
    }

    /// The field of the page's form of that number; `owner`: the id of the form, as written, where the field is outside of it.
    pub(super) fn field(&self, number: u32, owner: Option<&[u8]>) -> String {
        let form = owner.map(|id| format!(" form=\"{}\"", as_value(id))).unwrap_or_default();
        let token = &self.token;
        format!(r#"<input type="hidden" name=".vestibule" value="{token}.f{number}"{form} autocomplete="off"/>"#)
    }
}

/// The token stands in the element itself: no policy forbids that, and the script takes the element away as soon as it runs.
fn element(script: &ScriptTag, origin: &str, plan: &Plan) -> String {
    let mut text =
        format!(r#"<script src="{}{}" data-page="{}""#, escaped(origin), escaped(&script.src), escaped(&plan.token));
    if !plan.reads.is_empty() {
        text.push_str(&format!(r#" data-reads="{}""#, escaped(&plan.reads.join("\n"))));
    }
    if let Some(nonce) = &script.nonce {
        text.push_str(&format!(r#" nonce="{}""#, escaped(nonce)));
    }
    if let Some(integrity) = &script.integrity {
        text.push_str(&format!(r#" integrity="{}""#, escaped(integrity)));
    }
    text.push_str("></script>");
    text
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
