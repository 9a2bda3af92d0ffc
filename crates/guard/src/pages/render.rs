//! The templates and what fills them. Askama escapes every value.

use super::words::{self, Words};
use askama::Template;

/// The portal: applications, sessions, signing off.
#[derive(Template)]
#[template(path = "portal.html")]
pub(crate) struct Portal<'a> {
    pub(crate) t: &'static Words,
    pub(crate) user: &'a str,
    pub(crate) apps: &'a [PortalApp],
    pub(crate) sessions: &'a [PortalSession],
    pub(crate) token: &'a str,
}

/// An application in the portal.
pub(crate) struct PortalApp {
    pub(crate) title: String,
    pub(crate) href: String,
}

/// A session in the portal; all texts as they are shown.
pub(crate) struct PortalSession {
    pub(crate) address: String,
    pub(crate) device: String,
    pub(crate) since: String,
    pub(crate) last_use: String,
    pub(crate) until: String,
    pub(crate) this: bool,
}

/// The login page of a browser without the client.
#[derive(Template)]
#[template(path = "login.html")]
pub(crate) struct Login<'a> {
    pub(crate) t: &'static Words,
    pub(crate) user: &'a str,
    /// Where to go behind it: a path on this host.
    pub(crate) to: &'a str,
    /// What went wrong the last time.
    pub(crate) said: Option<&'a str>,
    /// The ticket of a form that waits to be sent.
    pub(crate) kept: Option<&'a str>,
}

/// The page at the entry: its script proves that this is the browser in which somebody signed in.
#[derive(Template)]
#[template(path = "entry.html")]
pub(crate) struct EntryPage<'a> {
    pub(crate) t: &'static Words,
    /// The public half of the key that is to sign.
    pub(crate) key: &'a str,
    /// What is signed besides the origin: application, session, challenge, address.
    pub(crate) app: &'a str,
    pub(crate) session: &'a str,
    pub(crate) challenge: &'a str,
    pub(crate) to: &'a str,
    /// Where to sign in instead.
    pub(crate) again: &'a str,
}

/// A page that says what happened, what it means, and what to do.
#[derive(Template)]
#[template(path = "notice.html")]
pub(crate) struct Notice<'a> {
    pub(crate) t: &'static Words,
    pub(crate) title: &'a str,
    pub(crate) meaning: &'a str,
    pub(crate) details: Vec<String>,
    pub(crate) next: &'a str,
    pub(crate) links: Vec<Link>,
    pub(crate) buttons: Vec<Button>,
}

/// A link that looks like a button: it leads somewhere.
pub(crate) struct Link {
    pub(crate) href: String,
    pub(crate) text: &'static str,
}

/// A button: it does something.
pub(crate) struct Button {
    pub(crate) action: String,
    pub(crate) text: &'static str,
    pub(crate) fields: Vec<(&'static str, String)>,
}

impl Notice<'static> {
    /// The page of fixed words.
    pub(crate) fn of(t: &'static Words, notice: words::Notice) -> Self {
        let words::Notice { title, meaning, next } = notice;
        Self { t, title, meaning, next, details: Vec::new(), links: Vec::new(), buttons: Vec::new() }
    }
}

impl Notice<'_> {
    /// With one more line.
    pub(crate) fn detail(mut self, line: String) -> Self {
        self.details.push(line);
        self
    }

    /// With a link.
    pub(crate) fn link(mut self, text: &'static str, href: impl Into<String>) -> Self {
        self.links.push(Link { href: href.into(), text });
        self
    }

    /// With a button.
    pub(crate) fn button(mut self, button: Button) -> Self {
        self.buttons.push(button);
        self
    }

    pub(crate) fn html(&self) -> String {
        html(self)
    }
}

impl Portal<'_> {
    pub(crate) fn html(&self) -> String {
        html(self)
    }
}

impl Login<'_> {
    pub(crate) fn html(&self) -> String {
        html(self)
    }
}

impl EntryPage<'_> {
    pub(crate) fn html(&self) -> String {
        html(self)
    }
}

/// Writing into a `String` fails for no template of ours; were it to, an empty page is shown rather than half of one.
fn html(template: &impl Template) -> String {
    template.render().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::words::{ENGLISH, JAPANESE};

    #[test]
    fn every_value_is_escaped() {
        let nasty = "\"><script>alert(1)</script>";
        let login = Login { t: &ENGLISH, user: nasty, to: nasty, said: Some(nasty), kept: Some(nasty) }.html();
        let apps = [PortalApp { title: nasty.to_owned(), href: nasty.to_owned() }];
        let portal = Portal { t: &JAPANESE, user: nasty, apps: &apps, sessions: &[], token: nasty }.html();
        let notice = Notice::of(&ENGLISH, ENGLISH.signed_off).detail(nasty.to_owned()).link("x", nasty).html();
        let (key, app, session, challenge, to, again) = (nasty, nasty, nasty, nasty, nasty, nasty);
        let entry = EntryPage { t: &ENGLISH, key, app, session, challenge, to, again }.html();
        for html in [login, portal, notice, entry] {
            assert!(!html.contains("<script>") && !html.contains("alert(1)</"), "{html}");
            assert!(html.starts_with("<!doctype html>"), "{html}");
        }
    }

    #[test]
    fn pages_say_their_language() {
        assert!(Notice::of(&JAPANESE, JAPANESE.done).html().contains("<html lang=\"ja\">"));
        assert!(Notice::of(&ENGLISH, ENGLISH.done).html().contains("<html lang=\"en\">"));
    }
}
