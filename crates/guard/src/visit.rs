//! One request's way through the guard: who asks (steps 1 and 2 of the cycle), from which page (4), with which grants (5), for the
//! first time or again (6), and what goes back (3).

mod answer;
mod carrying;
mod command;
mod entry;
mod overrides;
mod own;
mod place;
mod receipt;
mod refuse;
mod sign_in;
mod who;

pub(crate) use command::fuzz_content;

use crate::audit::AuditOutcome;
use crate::carried::{Carried, Found};
use crate::classify::{Facts, Outcome, Refusal, TokenState, Verdict, judge, method_overrides};
use crate::coverage::Sighting;
use crate::entry::{self as proof, Entry};
use crate::guard::{Parts, Peer, wall_clock};
use crate::headers::origin::{DESTINATION, after_origin};
use crate::once::{About, ActionId};
use crate::pages::{self, Words};
use crate::path::{NormalPath, PathShape, PathTrick, target_of};
use crate::sessions::{Gone, Live};
use crate::token::{Context, Page, SealedGrants, TokenError};
use crate::websocket::Handshake;
use crate::{Body, Stamp};
use hyper::header::{HeaderValue, REFERER};
use hyper::http::request::Parts as Head;
use hyper::http::uri::Uri;
use hyper::{Request, Response};
use place::Place;
use std::sync::Arc;
use std::time::Instant;
use vestibule_policy::web::{GrantSet, Permission, is_safe_method};

/// One request, and all that is known of its surroundings.
pub(crate) struct Visit {
    parts: Arc<Parts>,
    peer: Arc<Peer>,
    place: Place,
    words: &'static Words,
    now: Stamp,
    began: Instant,
}

/// What a page's token said.
struct Shown {
    page: Page,
    action: ActionId,
}

/// What became of the search for a page's token.
enum Token {
    None,
    /// It may stand in the body.
    Unread,
    Good(Shown),
    /// In its stand, what was got for proving an entry to this address.
    Entered,
    Bad(Refusal),
}

impl Token {
    fn state(&self) -> TokenState {
        match self {
            Self::None => TokenState::None,
            Self::Unread => TokenState::InBody,
            Self::Good(_) => TokenState::Good,
            Self::Entered => TokenState::Entered,
            Self::Bad(refusal) => TokenState::Bad(*refusal),
        }
    }

    fn shown(self) -> Option<Shown> {
        match self {
            Self::Good(shown) => Some(shown),
            Self::None | Self::Unread | Self::Entered | Self::Bad(_) => None,
        }
    }
}

/// Answers a request.
pub(crate) async fn answer(parts: Arc<Parts>, peer: Arc<Peer>, request: Request<Body>) -> Response<Body> {
    let words = Words::of(request.headers());
    let place = match Place::of(&parts.apps(), &peer, &request) {
        Ok(place) => place,
        Err(status) => return refuse::nowhere(words, status),
    };
    let visit = Arc::new(Visit { parts, peer, place, words, now: wall_clock(), began: Instant::now() });
    let who = visit.who(request.headers()).await;
    // Whoever is signed off in the middle of a request has not made it.
    let request = match &who {
        Ok(live) => request.map(|body| live.cut(body)),
        Err(_) => request,
    };
    if request.uri().path().starts_with(pages::OWN) {
        return visit.own(who, request).await;
    }
    // Both are answers: what was let through, and what stands in its place.
    visit.pass(who, request).await.unwrap_or_else(|refused| *refused)
}

/// An answer that ends the way early.
type Early = Box<Response<Body>>;

impl Visit {
    async fn pass(
        self: &Arc<Self>,
        who: Result<Arc<Live>, Gone>,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Early> {
        let handshake = Handshake::take(&mut request);
        let (mut head, mut body) = request.into_parts();
        let in_head = carrying::from_head(&mut head);
        let path = NormalPath::from_request(head.uri.path());
        let kind = carrying::kind_of(&head.headers);
        let unread = in_head == Found::Nothing && kind.is_some();
        let mut token = self.token_of(&who, in_head, unread, target_of(&head.uri));
        let mut verdict = self.judge(&head, &path, &who, token.state());
        if let (Outcome::LookInBody, Some(kind)) = (verdict.outcome, kind) {
            let taken = carrying::from_body(kind, &mut head.headers, body).await;
            let (in_body, rest) = taken.map_err(|error| self.broken_off_before(&who, &head, refuse::of_body(error)))?;
            (token, body) = (self.token_of(&who, in_body, false, target_of(&head.uri)), rest);
            verdict = self.judge(&head, &path, &who, token.state());
        }
        self.count(&head, &path, &verdict, &token);
        let request = Request::from_parts(head, body);
        let command = match verdict.outcome {
            Outcome::Admit { command, .. } => command,
            Outcome::SignIn => return Err(self.sign_in(&who, request).await),
            Outcome::ProveEntry { afresh, asks } => {
                let (fields, to) = (request.headers().clone(), target_of(request.uri()).to_owned());
                return Err(self.entry(&who, &fields, &to, (afresh, asks)).await);
            }
            Outcome::Refuse(refusal) => return Err(self.refuse_command(&who, &request, &verdict, refusal)),
            Outcome::LookInBody => return Err(self.refuse_command(&who, &request, &verdict, Refusal::Malformed)),
        };
        let live = who.map_err(|_| self.refuse_head(request.headers(), Refusal::SignedOff))?;
        let led = !matches!(token, Token::None | Token::Unread | Token::Bad(_));
        let shown = token.shown();
        let granted = self.check_grants(&live, shown.as_ref(), &request, &path, command)?;
        live.touch(self.now);
        let asked = answer::Asked::of(&request, &verdict, led, granted);
        let mut answer = match (shown, command) {
            (Some(shown), true) if verdict.needs.claim => self.command(&live, shown, request).await,
            (shown, true) => self.unclaimed(&live, shown.map(|shown| shown.page.serial), request).await,
            (_, false) => self.read(&live, &asked, request).await,
        };
        if let Some(handshake) = handshake {
            handshake.pass(&mut answer, live.ended());
        }
        Ok(self.outgoing(&live, &asked, answer).await)
    }

    /// Which row of the table the request is, and what follows.
    fn judge(
        &self,
        head: &Head,
        path: &Result<NormalPath, PathTrick>,
        who: &Result<Arc<Live>, Gone>,
        token: TokenState,
    ) -> Verdict {
        let session = (self.peer.proof(), who.is_ok());
        let path = path.as_ref().map_err(|trick| *trick);
        judge(&Facts::of(head, path, &self.place.origin, session, token, &self.place.app.settings.rules))
    }

    /// What became of the search for a token.
    fn token_of(&self, who: &Result<Arc<Live>, Gone>, found: Found, unread: bool, target: &str) -> Token {
        match (found, who) {
            (Found::One(carried), Ok(live)) if proof::is_admission(carried.token()) => {
                let admitted = self.parts.entries.admit(&self.entry_to(live, target), carried.token());
                admitted.map_or_else(|error| Token::Bad(entry::refusal_of(error)), |()| Token::Entered)
            }
            (Found::One(carried), Ok(live)) => self.shown(live, &carried).map_or_else(Token::Bad, Token::Good),
            // There is no session for it to be of; that is judged first.
            (Found::One(_), Err(_)) => Token::Bad(Refusal::SignedOff),
            (Found::Malformed, _) => Token::Bad(Refusal::Malformed),
            (Found::Nothing, _) if unread => Token::Unread,
            (Found::Nothing, _) => Token::None,
        }
    }

    /// Opens the token in the session that shows it.
    fn shown(&self, live: &Live, carried: &Carried) -> Result<Shown, Refusal> {
        let context = self.context(live);
        let page = self.parts.pages.open_token(carried.token(), &context, self.now).map_err(|error| match error {
            TokenError::Malformed | TokenError::Foreign | TokenError::Future => Refusal::OtherSession,
            TokenError::Expired => Refusal::ExpiredPage,
        })?;
        let action = match carried.action() {
            Some(action) => ActionId::new(action).map_err(|_| Refusal::Malformed)?,
            None => ActionId::none(),
        };
        Ok(Shown { page, action })
    }

    /// What is entered where this address is read without a page.
    fn entry_to<'a>(&'a self, live: &Live, target: &'a str) -> Entry<'a> {
        Entry { context: self.context(live), origin: &self.place.origin, target }
    }

    fn context<'a>(&'a self, live: &Live) -> Context<'a> {
        live.session().context(&self.place.app.settings.name)
    }

    /// Step 5: the grants sealed in the page, and those in force, which are given back.
    fn check_grants(
        &self,
        live: &Live,
        shown: Option<&Shown>,
        request: &Request<Body>,
        path: &Result<NormalPath, PathTrick>,
        command: bool,
    ) -> Result<GrantSet, Early> {
        let methods = methods_of(request);
        self.check_methods(live, shown, request, path, methods.iter().map(String::as_str), command)
    }

    /// The paths that a request is about: its own, and the one that it is to be copied or moved to (RFC 4918 section 10.3). An
    /// address elsewhere stands here as it is, and is no path that any rule could allow.
    fn paths_of<'a, B>(&self, request: &'a Request<B>) -> Vec<&'a str> {
        let there = |value: &'a HeaderValue| {
            let text = value.to_str().unwrap_or_default();
            let rest = after_origin(text, self.place.scheme, &self.place.host).unwrap_or(text);
            rest.split(['?', '#']).next().unwrap_or_default()
        };
        let destinations = request.headers().get_all(DESTINATION).iter().map(there);
        std::iter::once(request.uri().path()).chain(destinations).collect()
    }

    /// Whether session and grants still stand, by the rules that are in force now: a body may have taken hours since its request's
    /// head was looked at. `named` are the methods that stand in the body.
    fn still_stands<B>(&self, live: &Live, request: &Request<B>, named: &[String]) -> Result<(), Refusal> {
        if live.has_ended() {
            return Err(Refusal::SignedOff);
        }
        let apps = self.parts.apps();
        let app = apps.named(&self.place.app.settings.name).ok_or(Refusal::NotPermitted)?;
        let (in_force, paths) = (self.granted_by(app, live), self.paths_of(request));
        let all = |method: &String| paths.iter().try_for_each(|path| permitted(&in_force, method, path));
        methods_of(request).iter().chain(named).try_for_each(all)
    }

    /// Each of these methods, the request's own and those that the application is asked to read instead, must be granted.
    fn check_methods<'a, B>(
        &self,
        live: &Live,
        shown: Option<&Shown>,
        request: &Request<B>,
        path: &Result<NormalPath, PathTrick>,
        methods: impl Iterator<Item = &'a str>,
        command: bool,
    ) -> Result<GrantSet, Early> {
        let in_force = self.granted(live);
        let sealed = match shown.map(|shown| &shown.page.grants) {
            Some(SealedGrants::Inline(grants)) => Some(grants),
            // What the name stands for is what was in force; what is in force now is asked anyhow.
            Some(SealedGrants::Reference(_)) | None => None,
        };
        let (serial, paths) = (shown.map(|shown| shown.page.serial), self.paths_of(request));
        for method in methods {
            for grants in std::iter::once(&in_force).chain(sealed) {
                paths.iter().try_for_each(|path| permitted(grants, method, path)).map_err(|refusal| {
                    self.audit_refused(live, serial, request, command, refusal);
                    if refusal == Refusal::NotPermitted {
                        self.not_permitted(live, request, path.as_ref().ok())
                    } else {
                        self.refuse_head(request.headers(), refusal)
                    }
                })?;
            }
        }
        Ok(in_force)
    }

    fn count(&self, head: &Head, path: &Result<NormalPath, PathTrick>, verdict: &Verdict, token: &Token) {
        let shape = path.as_ref().map_or_else(|_| PathShape::of_tricks(), PathShape::of);
        let page = head.headers.get(REFERER).and_then(|referer| shape_of(referer.to_str().ok()?));
        let element = match token {
            Token::Good(shown) => Some(shown.action.as_str()).filter(|action| !action.is_empty()),
            Token::None | Token::Unread | Token::Entered | Token::Bad(_) => None,
        };
        self.parts.coverage.record(&Sighting {
            app: &self.place.app.settings.name,
            verdict: *verdict,
            token: token.state(),
            method: head.method.as_str(),
            shape: &shape,
            page: page.as_ref(),
            element,
        });
    }

    fn refuse_command(
        &self,
        who: &Result<Arc<Live>, Gone>,
        request: &Request<Body>,
        verdict: &Verdict,
        refusal: Refusal,
    ) -> Early {
        if let Ok(live) = who {
            let command = verdict.needs.claim || !is_safe_method(request.method().as_str());
            self.audit_refused(live, None, request, command, refusal);
        }
        self.refuse_head(request.headers(), refusal)
    }

    /// A command whose body broke off while its token was looked for there.
    fn broken_off_before(&self, who: &Result<Arc<Live>, Gone>, head: &Head, refusal: Refusal) -> Early {
        if let Ok(live) = who
            && !is_safe_method(head.method.as_str())
        {
            let about = self.about_head(live, None, &head.method, head.uri.path());
            self.audit_refusal(&about, refusal);
        }
        self.refuse_head(&head.headers, refusal)
    }

    /// Refused commands stand in the audit log; reads don't.
    fn audit_refused<B>(
        &self,
        live: &Live,
        serial: Option<crate::Serial>,
        request: &Request<B>,
        command: bool,
        refusal: Refusal,
    ) {
        if command {
            self.audit_refusal(&self.about(live, serial, request), refusal);
        }
    }

    fn audit_refusal(&self, about: &About, refusal: Refusal) {
        self.audit(about, AuditOutcome::Refused(refusal.word().to_owned()), None);
    }
}

/// A request's method, and those that the application is asked to read instead by what comes before the body; in capitals.
fn methods_of<B>(request: &Request<B>) -> Vec<String> {
    let own = std::iter::once(request.method().as_str()).chain(method_overrides(request.headers()));
    own.map(str::to_ascii_uppercase).chain(overrides::of_query(request.uri().query())).collect()
}

fn permitted(grants: &GrantSet, method: &str, path: &str) -> Result<(), Refusal> {
    match grants.permits_request(method, path) {
        Ok(Permission::Permitted) => Ok(()),
        Ok(Permission::Missing { .. }) => Err(Refusal::NotPermitted),
        Err(_) => Err(Refusal::Malformed),
    }
}

/// The shape of the page at this address.
fn shape_of(address: &str) -> Option<PathShape> {
    let uri: Uri = address.parse().ok()?;
    NormalPath::from_request(uri.path()).ok().map(|path| PathShape::of(&path))
}
