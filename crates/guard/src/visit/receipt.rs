//! "Already processed": what a person is told who gives a command again, and what a script gets.

use super::command::{RESULT, SEND, handed_over};
use super::entry::with_token;
use super::{Early, Visit};
use crate::classify::Refusal;
use crate::kept::KeptForm;
use crate::once::{ClaimName, Done};
use crate::pages::{self, Button, DO_FIELD, KEPT_FIELD, Notice, PAGE_FIELD};
use crate::path::target_of;
use crate::sessions::Live;
use crate::token::{Page, SealedGrants, source_of};
use crate::{Body, Stamp};
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Method, Request, Response, StatusCode};
use std::sync::Arc;

/// The action's name in tokens of the guard's own pages.
const ACTION: &str = "own";

impl Visit {
    /// A command that was answered before.
    pub(super) async fn receipt(
        &self,
        live: &Arc<Live>,
        name: ClaimName,
        done: &Done,
        request: Request<Option<Bytes>>,
    ) -> Response<Body> {
        if !pages::for_person(request.headers()) {
            return match &done.answer {
                Some(answer) => handed_over(&answer.response(), done.at.0),
                None => *self.refuse_head(request.headers(), Refusal::AlreadyDone),
            };
        }
        let mut notice = Notice::of(self.words, self.words.done);
        notice = notice.detail(format!("{} {} (HTTP {})", self.words.done_at, clock_time(done.at), done.status));
        for button in self.receipt_buttons(live, name, done, &request).await {
            notice = notice.button(button);
        }
        if let Some(link) = self.link_again(live, &request).await {
            notice = notice.link(self.words.do_again, link);
        }
        let notice = notice.link(self.words.back_to_app, "/");
        pages::refusal(request.headers(), Refusal::AlreadyDone, notice)
    }

    /// A command that was sent and not answered.
    pub(super) fn outcome_unknown(&self, headers: &HeaderMap, at: Stamp) -> Response<Body> {
        let notice = Notice::of(self.words, self.words.refusal(Refusal::UnknownOutcome));
        let notice = notice.detail(format!("{} {}", self.words.done_at, clock_time(at)));
        pages::refusal(headers, Refusal::UnknownOutcome, notice.link(self.words.back_to_app, "/"))
    }

    async fn receipt_buttons(
        &self,
        live: &Arc<Live>,
        name: ClaimName,
        done: &Done,
        request: &Request<Option<Bytes>>,
    ) -> Vec<Button> {
        let form = KeptForm {
            method: request.method().to_string(),
            target: target_of(request.uri()).to_owned(),
            content_type: request.headers().get(CONTENT_TYPE).and_then(|value| Some(value.to_str().ok()?.to_owned())),
            body: request.body().as_deref().unwrap_or_default().to_vec(),
            claim: Some(name.0),
        };
        let mut buttons = Vec::new();
        if done.answer.is_some() {
            buttons.extend(self.offer(live, &form, RESULT, self.words.see_result).await);
        }
        // What was too large to hold can't be sent from here.
        if request.body().is_some() && request.method() == Method::POST {
            buttons.extend(self.offer(live, &form, SEND, self.words.do_again).await);
        }
        buttons
    }

    /// A command given by a link is given again by one, which bears a page of its own.
    async fn link_again(&self, live: &Arc<Live>, request: &Request<Option<Bytes>>) -> Option<String> {
        if request.method() != Method::GET {
            return None;
        }
        let token = self.own_token(live).await.ok()?;
        Some(with_token(&self.place.here(target_of(request.uri())), &token))
    }

    /// A button that sends a form which is kept meanwhile; none when it can't be kept.
    pub(super) async fn offer(
        &self,
        live: &Arc<Live>,
        form: &KeptForm,
        what: &'static str,
        text: &'static str,
    ) -> Option<Button> {
        let (user, app) = (&live.session().user, &self.place.app.settings.name);
        let ticket = self.parts.kept.keep(form, user, app, self.now).await.ok()?;
        let token = self.own_token(live).await.ok()?;
        Some(Button {
            action: self.place.here(&form.target),
            text,
            fields: vec![(PAGE_FIELD, token), (KEPT_FIELD, ticket.as_str().to_owned()), (DO_FIELD, what.to_owned())],
        })
    }

    /// A token for a form on one of the guard's own pages.
    pub(super) async fn own_token(&self, live: &Arc<Live>) -> Result<String, Early> {
        let serial = live.next_serial().await.map_err(|error| {
            tracing::error!(%error, "no page can be numbered");
            self.refuse_head(&HeaderMap::new(), Refusal::UpstreamDown)
        })?;
        let session = live.session();
        let page = Page {
            user: session.user.clone(),
            serial,
            issued: self.now,
            source: source_of("GET", &self.place.host, pages::PORTAL_PATH),
            grants: SealedGrants::Inline(self.granted(live)),
        };
        Ok(format!("{}.{ACTION}", self.parts.pages.seal(&page, &self.context(live))))
    }
}

impl Visit {
    /// A plain page of the guard's.
    pub(super) fn notice(&self, status: StatusCode, notice: &Notice<'_>) -> Response<Body> {
        pages::page(status, notice.html())
    }
}

/// `14:03:22 UTC`.
pub(super) fn clock_time(at: Stamp) -> String {
    let seconds = at.0 / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02} UTC", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// `2026-11-22 14:03 UTC`.
pub(super) fn date_and_time(at: Stamp) -> String {
    let (year, month, day) = date(at.0 / 86_400_000);
    let minutes = at.0 / 60_000 % 1_440;
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

/// The Gregorian date of a day since 1970-01-01, by counting from 1 March of year 0 in cycles of 400 years.
fn date(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (cycle, of_cycle) = (day / 146_097, day % 146_097);
    let year = (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (month, day) = (if month < 10 { month + 3 } else { month - 9 }, of_year - (153 * month + 2) / 5 + 1);
    (cycle * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told() {
        assert_eq!(clock_time(Stamp(0)), "00:00:00 UTC");
        assert_eq!(clock_time(Stamp(1_763_820_202_999)), "14:03:22 UTC");
        assert_eq!(date_and_time(Stamp(0)), "1970-01-01 00:00 UTC");
        assert_eq!(date_and_time(Stamp(951_782_400_000)), "2000-02-29 00:00 UTC");
        assert_eq!(date_and_time(Stamp(1_763_820_202_999)), "2025-11-22 14:03 UTC");
        assert_eq!(date_and_time(Stamp(4_107_542_399_000)), "2100-02-28 23:59 UTC");
        assert_eq!(date_and_time(Stamp(4_107_542_400_000)), "2100-03-01 00:00 UTC");
    }
}
