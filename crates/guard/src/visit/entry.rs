//! Coming to a strict application without a page: an interstitial stands in for the read that was asked for, and leads on to it
//! (PAGEGUARD section 3). What is asked for here never runs a command.

use super::sign_in::{field, fields, login_to};
use super::{Early, Visit};
use crate::Body;
use crate::classify::Refusal;
use crate::entry::{EntryError, EntryKey, TARGET_LONGEST};
use crate::pages::{self, EntryPage, Notice, PAGE_FIELD};
use crate::sessions::{Gone, Live};
use http_body_util::{BodyExt, Limited};
use hyper::header::HeaderMap;
use hyper::{Request, Response, StatusCode};
use std::sync::Arc;

/// The most bytes of a proof: every byte of an address may travel as three.
const PROOF_LONGEST: usize = 3 * TARGET_LONGEST + 1_024;

impl Visit {
    /// The page that stands in between. `afresh`: the session alone is not enough, its browser proves itself, or its user signs in
    /// once more. `asks`: the person goes on by hand.
    pub(super) async fn entry(
        &self,
        who: &Result<Arc<Live>, Gone>,
        headers: &HeaderMap,
        to: &str,
        (afresh, asks): (bool, bool),
    ) -> Early {
        let Ok(live) = who else { return self.refuse_head(headers, Refusal::SignedOff) };
        let key = live.session().entry_key.filter(|_| to.len() <= TARGET_LONGEST);
        let on = match (afresh, key, asks) {
            (true, None, _) => return Box::new(self.sign_in_afresh(to)),
            (true, Some(key), false) => return Box::new(self.entry_page(live, &key, to)),
            // From this page of ours it is asked for anew.
            (true, Some(_), true) => self.place.here(to),
            (false, _, _) => match self.own_token(live).await {
                Ok(token) => with_token(&self.place.here(to), &token),
                Err(early) => return early,
            },
        };
        let notice = Notice::of(self.words, self.words.confirm).link(self.words.go_on, on);
        Box::new(pages::page(StatusCode::OK, notice.html()))
    }

    /// The login page for somebody whose session is not enough here; it tells nothing of that session.
    pub(super) fn sign_in_afresh(&self, to: &str) -> Response<Body> {
        self.sign_in_page(to, None, Some(self.words.confirm.meaning), "", false)
    }

    fn entry_page(&self, live: &Live, key: &EntryKey, to: &str) -> Response<Body> {
        // The token goes into the query and is taken off it: an empty one doesn't outlive that.
        let to = to.split_once('?').filter(|(_, query)| query.is_empty()).map_or(to, |(path, _)| path);
        let entry = self.entry_to(live, to);
        let page = EntryPage {
            t: self.words,
            key: &key.to_string(),
            app: entry.context.app.as_str(),
            session: &entry.session_text(),
            challenge: &self.parts.entries.challenge(&entry),
            to,
            again: &login_to(to),
        };
        pages::page_with_script(StatusCode::OK, page.html())
    }

    /// POST of a signed challenge: where to go now.
    pub(super) async fn prove_entry(&self, live: &Live, request: Request<Body>) -> Response<Body> {
        let headers = request.headers().clone();
        match self.proven(live, request.into_body()).await {
            Ok(to) => way_in(&to),
            Err(refusal) => *self.refuse_head(&headers, refusal),
        }
    }

    async fn proven(&self, live: &Live, body: Body) -> Result<String, Refusal> {
        let body = Limited::new(body, PROOF_LONGEST).collect().await.map_err(|_| Refusal::TooLarge)?.to_bytes();
        let form = fields(&body);
        let (Some(to), Some(challenge), Some(signature)) =
            (field(&form, "to"), field(&form, "challenge"), field(&form, "signature"))
        else {
            return Err(Refusal::Malformed);
        };
        let key = live.session().entry_key.ok_or(Refusal::NoPage)?;
        let entry = self.entry_to(live, to);
        let admission = self.parts.entries.prove(&entry, &key, challenge, signature).map_err(refusal_of)?;
        Ok(with_token(&self.place.here(to), &admission))
    }

    /// An address of this application that this session may read next, once, without being asked again: a page led there, or
    /// somebody has just signed in.
    pub(super) fn led_to(&self, live: &Live, to: &str) -> String {
        let target = to.split('#').next().unwrap_or_default();
        let admission = self.parts.entries.admission(&self.entry_to(live, target));
        with_token(to, &admission)
    }
}

/// What to say of an entry that failed.
pub(super) fn refusal_of(error: EntryError) -> Refusal {
    match error {
        EntryError::Malformed => Refusal::Malformed,
        EntryError::Foreign | EntryError::Unsigned => Refusal::OtherSession,
        EntryError::Expired => Refusal::ExpiredPage,
        EntryError::Spent => Refusal::AlreadyDone,
        EntryError::Full => Refusal::TooSlow,
    }
}

fn way_in(to: &str) -> Response<Body> {
    pages::json("application/json", &serde_json::json!({ "to": to }))
}

/// An address with a token in its query.
pub(super) fn with_token(to: &str, token: &str) -> String {
    let (address, fragment) = to.split_once('#').map_or((to, ""), |(address, _)| (address, &to[address.len()..]));
    let joint = if address.contains('?') { '&' } else { '?' };
    format!("{address}{joint}{PAGE_FIELD}={token}{fragment}")
}

#[cfg(test)]
mod tests {
    use super::with_token;

    #[test]
    fn the_token_goes_into_the_query() {
        assert_eq!(with_token("/a", "T"), "/a?.vestibule=T");
        assert_eq!(with_token("/a?b=1", "T"), "/a?b=1&.vestibule=T");
        assert_eq!(with_token("/a?b=1#c?d", "T"), "/a?b=1&.vestibule=T#c?d");
        assert_eq!(with_token("/a#c", "T"), "/a?.vestibule=T#c");
    }
}
