//! A form that was kept and is sent after all: the body that comes says only which, and the kept one takes its place.

use crate::classify::Refusal;
use crate::kept::KeptForm;
use crate::once::{ClaimName, Claimed, Repeat};
use crate::pages::{DO_FIELD, KEPT_FIELD};
use crate::path::target_of;
use crate::sessions::Live;
use crate::visit::command::content::Content;
use crate::visit::command::handed_over;
use crate::visit::{Early, Visit};
use bytes::Bytes;
use hyper::Request;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use std::sync::Arc;

/// The most bytes of a body that says which form is meant.
const LONGEST: usize = 512;
/// Asks for the answer that the command had.
pub(in crate::visit) const RESULT: &str = "result";
/// Gives the command again, or for the first time.
pub(in crate::visit) const SEND: &str = "send";

impl Visit {
    /// The request with the body of the kept form that it names, and its digest; or as it is, if it names none.
    ///
    /// # Errors
    /// The answer that was asked for; or that the form is kept no longer.
    pub(super) async fn substituted(
        &self,
        live: &Arc<Live>,
        request: Request<Bytes>,
    ) -> Result<(Request<Bytes>, Option<[u8; 32]>), Early> {
        let Some((ticket, what)) = named(request.body()) else { return Ok((request, None)) };
        let (user, app) = (&live.session().user, &self.place.app.settings.name);
        let found = self.parts.kept.find(&ticket, user, app, self.now).await;
        let kept = found.unwrap_or_else(|error| {
            tracing::error!(%error, "a kept form can't be read");
            None
        });
        let Some(kept) = kept.filter(|kept| is_of(kept, &what, &request)) else {
            return Err(self.refuse_head(request.headers(), Refusal::ExpiredPage));
        };
        if what == RESULT {
            return Err(self.result(live, &kept, &request).await);
        }
        let request = with_body(request, kept);
        let mut content = Content::of(request.headers());
        content.write(request.body());
        Ok((request, Some(content.digest())))
    }

    async fn result(&self, live: &Arc<Live>, kept: &KeptForm, request: &Request<Bytes>) -> Early {
        let Some(name) = kept.claim.map(ClaimName) else {
            return self.refuse_head(request.headers(), Refusal::ExpiredPage);
        };
        // Asked in this way a claim is either there already, or given back at once.
        let claimed = self.parts.once.claim(name, self.about(live, None, request), self.now).await;
        match claimed {
            Ok(Claimed::Repeat(Repeat::Done(done))) => match &done.answer {
                Some(answer) => Box::new(handed_over(&answer.response(), done.at.0)),
                None => self.refuse_head(request.headers(), Refusal::AlreadyDone),
            },
            Ok(Claimed::Repeat(Repeat::Waiting(_) | Repeat::Unknown { .. })) | Err(_) => {
                self.refuse_head(request.headers(), Refusal::UnknownOutcome)
            }
            Ok(Claimed::First(running)) => {
                running.unsent();
                self.refuse_head(request.headers(), Refusal::ExpiredPage)
            }
        }
    }
}

/// A result is asked for by a form, by whatever method its command was given.
fn is_of(kept: &KeptForm, what: &str, request: &Request<Bytes>) -> bool {
    kept.target == target_of(request.uri()) && (what == RESULT || kept.method == request.method().as_str())
}

fn with_body(request: Request<Bytes>, kept: KeptForm) -> Request<Bytes> {
    let (mut head, _) = request.into_parts();
    match kept.content_type.and_then(|value| HeaderValue::try_from(value).ok()) {
        Some(value) => head.headers.insert(CONTENT_TYPE, value),
        None => head.headers.remove(CONTENT_TYPE),
    };
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(kept.body.len()));
    Request::from_parts(head, Bytes::from(kept.body))
}

/// Which form, and what to do with it. Both fields are written by the guard's own pages, in this order, and need no decoding.
fn named(body: &Bytes) -> Option<(String, String)> {
    if body.len() > LONGEST {
        return None;
    }
    let text = std::str::from_utf8(body).ok()?;
    let (kept, what) = text.split_once('&')?;
    let ticket = kept.strip_prefix(KEPT_FIELD)?.strip_prefix('=')?;
    let what = what.strip_prefix(DO_FIELD)?.strip_prefix('=')?;
    matches!(what, RESULT | SEND).then(|| (ticket.to_owned(), what.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_guards_own_form_names_one() {
        let named = |text: &'static str| named(&Bytes::from_static(text.as_bytes()));
        assert_eq!(named(".vestibule-kept=abc&.vestibule-do=send"), Some(("abc".to_owned(), "send".to_owned())));
        assert_eq!(named(".vestibule-kept=abc&.vestibule-do=result"), Some(("abc".to_owned(), "result".to_owned())));
        for other in [
            "",
            "a=1",
            ".vestibule-kept=abc",
            ".vestibule-kept=abc&.vestibule-do=else",
            "x&.vestibule-kept=a&.vestibule-do=send",
        ] {
            assert_eq!(named(other), None, "{other}");
        }
    }
}
