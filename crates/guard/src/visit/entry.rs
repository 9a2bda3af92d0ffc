//! Coming to a strict application without a page: an interstitial stands in for the read that was asked for, and leads on to it with
//! a token of its own (PAGEGUARD section 3). What is asked for here never runs a command.

use super::{Early, Visit};
use crate::classify::Refusal;
use crate::pages::{self, Notice, PAGE_FIELD};
use crate::sessions::{Gone, Live};
use hyper::StatusCode;
use hyper::header::HeaderMap;
use std::sync::Arc;

impl Visit {
    /// The page that stands in between. `afresh`: the session alone is not enough, its user signs in once more.
    pub(super) async fn entry(
        &self,
        who: &Result<Arc<Live>, Gone>,
        headers: &HeaderMap,
        to: &str,
        afresh: bool,
    ) -> Early {
        let Ok(live) = who else { return self.refuse_head(headers, Refusal::SignedOff) };
        if afresh {
            let said = Some(self.words.confirm.meaning);
            return Box::new(self.sign_in_page(to, None, said, live.session().user.as_str(), false));
        }
        let token = match self.own_token(live).await {
            Ok(token) => token,
            Err(early) => return early,
        };
        let notice =
            Notice::of(self.words, self.words.confirm).link(self.words.go_on, with_token(&self.place.here(to), &token));
        Box::new(pages::page(StatusCode::OK, notice.html()))
    }
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
