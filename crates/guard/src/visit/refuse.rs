//! Refusals: what happened, what it means, what to do.

use super::{Early, Visit};
use crate::classify::Refusal;
use crate::pages::{self, Notice, Words};
use crate::sessions::Live;
use crate::{Body, BodyError};
use hyper::header::HeaderMap;
use hyper::http::request::Parts as Head;
use hyper::{Request, Response, StatusCode};
use vestibule_policy::web::{NormalPath, Permission};

/// Nobody has published anything under this name, or not here.
pub(super) fn nowhere(words: &'static Words, status: StatusCode) -> Response<Body> {
    pages::page(status, Notice::of(words, words.nowhere).html())
}

/// What to say of a body that could not be read.
pub(super) fn of_body(error: BodyError) -> Refusal {
    match error {
        BodyError::TooLarge => Refusal::TooLarge,
        BodyError::TooSlow => Refusal::TooSlow,
        BodyError::SessionEnded => Refusal::SignedOff,
        BodyError::Stopped => Refusal::UnknownOutcome,
        BodyError::Sender | BodyError::Coding | BodyError::Own => Refusal::Malformed,
    }
}

impl Visit {
    /// A refusal in the words of its kind.
    pub(super) fn refuse(&self, head: &Head, refusal: Refusal) -> Early {
        self.refuse_head(&head.headers, refusal)
    }

    pub(super) fn refuse_head(&self, headers: &HeaderMap, refusal: Refusal) -> Early {
        let notice = Notice::of(self.words, self.words.refusal(refusal));
        let notice = match refusal {
            Refusal::SignedOff => notice.link(self.words.sign_in, pages::LOGIN_PATH),
            Refusal::AlreadyDone | Refusal::UpstreamDown | Refusal::Malformed => notice,
            Refusal::OtherSession
            | Refusal::ExpiredPage
            | Refusal::NoPage
            | Refusal::NotPermitted
            | Refusal::UnknownOutcome
            | Refusal::CrossSite
            | Refusal::TooLarge
            | Refusal::TooSlow => notice.link(self.words.back_to_app, "/"),
        };
        Box::new(pages::refusal(headers, refusal, notice))
    }

    /// Step 5: what is missing, and who can grant it.
    pub(super) fn not_permitted<B>(&self, live: &Live, request: &Request<B>, path: Option<&NormalPath>) -> Early {
        let (session, policy) = (live.session(), &self.place.app.settings.policy);
        let method = request.method().as_str();
        let permission = path.map(|path| policy.permits(session.user.as_str(), &self.groups(live), method, path));
        let mut notice = Notice::of(self.words, self.words.refusal(Refusal::NotPermitted));
        notice = notice.detail(format!("{}: {method} {}", self.words.missing, request.uri().path()));
        if let Some(Permission::Missing { needed }) = permission {
            for rule in needed.iter().take(4) {
                notice = notice.detail(format!("{}: {}", self.words.would_do, rule.who));
            }
        }
        if let Some(owner) = &policy.owner {
            notice = notice.detail(format!("{} {owner}", self.words.ask));
        }
        let notice = notice.link(self.words.back_to_app, "/");
        Box::new(pages::refusal(request.headers(), Refusal::NotPermitted, notice))
    }
}
