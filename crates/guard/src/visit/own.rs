//! The guard's own addresses, on every application's host.

use super::receipt::date_and_time;
use super::sign_in::{field, fields, own_path, see_other};
use super::{Early, Visit, carrying};
use crate::carried::Carried;
use crate::classify::{FetchFacts, Outcome, Refusal, Site};
use crate::pages::{
    self, ALIVE_PATH, ENTRY_PATH, LOGIN_PATH, Notice, PAGE_FIELD, PORTAL_PATH, Portal, PortalApp, PortalSession,
    SIGN_OFF_PATH, STYLE_PATH,
};
use crate::path::NormalPath;
use crate::path::target_of;
use crate::sessions::{Gone, Live, Selector};
use crate::{Body, LogicalAddress, script};
use http_body_util::{BodyExt, Limited};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request, Response, StatusCode};
use std::sync::Arc;

/// The most bytes of a form on one of these pages.
const FORM_LIMIT: usize = 4 << 10;

impl Visit {
    /// Answers a request to the guard itself; no application sees it.
    pub(super) async fn own(&self, who: Result<Arc<Live>, Gone>, request: Request<Body>) -> Response<Body> {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let path = request.uri().path().to_owned();
        if !reads && !self.is_own_page(request.headers()) {
            return *self.refuse_head(request.headers(), Refusal::CrossSite);
        }
        match (path.as_str(), reads, who) {
            (STYLE_PATH, true, _) => pages::style(),
            (script::PATH, true, _) => script_of(script::source()),
            (script::entry::PATH, true, _) => script_of(script::entry::SOURCE),
            (ALIVE_PATH, true, Ok(_)) => alive(),
            (ALIVE_PATH, true, Err(_)) => *self.refuse_head(request.headers(), Refusal::SignedOff),
            (PORTAL_PATH, true, Ok(live)) => self.portal_at_entry(live, request).await,
            (PORTAL_PATH, true, who @ Err(_)) => *self.sign_in(&who, request).await,
            (LOGIN_PATH, true, Ok(_)) => self.sign_in_again(&request),
            (ENTRY_PATH, false, Ok(live)) if *request.method() == Method::POST => {
                self.prove_entry(&live, request).await
            }
            (ENTRY_PATH, false, Err(_)) => *self.refuse_head(request.headers(), Refusal::SignedOff),
            (LOGIN_PATH, true, Err(gone)) => self.sign_in_page("/", None, None, "", gone == Gone::SignedOff),
            (LOGIN_PATH, false, _) if *request.method() == Method::POST => self.log_in(request).await,
            (SIGN_OFF_PATH, false, Ok(live)) => self.sign_off(&live, request).await,
            (SIGN_OFF_PATH, _, _) => see_other(PORTAL_PATH),
            _ => self.notice(StatusCode::NOT_FOUND, &Notice::of(self.words, self.words.nowhere)),
        }
    }

    /// Whether a request that changes something comes from a page of this very host: the browser says so, or it isn't done.
    fn is_own_page(&self, headers: &HeaderMap) -> bool {
        let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
        match (FetchFacts::of(headers).site, origin) {
            (Some(site), _) => site == Site::SameOrigin,
            (None, Some(origin)) => origin.eq_ignore_ascii_case(&self.place.origin),
            (None, None) => false,
        }
    }

    /// The login page although there is a session, for a browser that could not prove itself at an entry; else there is no need.
    fn sign_in_again(&self, request: &Request<Body>) -> Response<Body> {
        let query = fields(request.uri().query().unwrap_or_default().as_bytes());
        let to = field(&query, "to").filter(|_| self.peer.tunnel.is_none());
        to.map_or_else(|| see_other(PORTAL_PATH), |to| self.sign_in_afresh(own_path(to)))
    }

    /// The portal is a page like any other: where pages are strict, a cookie alone gets neither to see it nor its token.
    async fn portal_at_entry(&self, live: Arc<Live>, request: Request<Body>) -> Response<Body> {
        let (mut head, _) = request.into_parts();
        let found = carrying::from_head(&mut head);
        let who = Ok(live.clone());
        let token = self.token_of(&who, found, false, target_of(&head.uri));
        let verdict = self.judge(&head, &NormalPath::from_request(PORTAL_PATH), &who, token.state());
        match verdict.outcome {
            Outcome::ProveEntry { afresh: true, asks } => {
                *self.entry(&who, &head.headers, target_of(&head.uri), (true, asks)).await
            }
            Outcome::Refuse(refusal) => *self.refuse(&head, refusal),
            _ if verdict.needs.part => *self.refuse(&head, Refusal::NoPage),
            Outcome::Admit { .. }
            | Outcome::LookInBody
            | Outcome::SignIn
            | Outcome::ProveEntry { afresh: false, .. } => self.portal(&live).await,
        }
    }

    async fn portal(&self, live: &Arc<Live>) -> Response<Body> {
        let token = match self.own_token(live).await {
            Ok(token) => token,
            Err(early) => return *early,
        };
        let session = live.session();
        let apps = self.portal_apps();
        let mut sessions: Vec<_> = self.parts.sessions.list();
        sessions.retain(|other| other.session().user == session.user);
        let rows: Vec<_> = sessions.iter().map(|other| self.row(other, live)).collect();
        let portal = Portal { t: self.words, user: session.user.as_str(), apps: &apps, sessions: &rows, token: &token };
        pages::page_with_script(StatusCode::OK, portal.html())
    }

    fn portal_apps(&self) -> Vec<PortalApp> {
        let granted = self.peer.tunnel.as_ref().map(|tunnel| tunnel.standing.may_open());
        let may = |app: &crate::AppName| granted.as_ref().is_none_or(|granted| granted.contains(app));
        let links = self.parts.apps().portal(may);
        let alone = links.len() == 1;
        let href = |link: &crate::PortalLink| match &link.host {
            _ if alone || link.app == self.place.app.settings.name => "/".to_owned(),
            Some(host) => format!("{}://{host}{}/", self.place.scheme, self.port()),
            None => format!("{}://{}.localhost{}/", self.place.scheme, link.app, self.port()),
        };
        links.iter().map(|link| PortalApp { title: link.title.clone(), href: href(link) }).collect()
    }

    /// `:8080`, where the browser uses a port that isn't the scheme's own.
    fn port(&self) -> &str {
        let port = self.place.host.rfind(':').map_or("", |at| &self.place.host[at..]);
        if port.ends_with(']') { "" } else { port }
    }

    async fn sign_off(&self, live: &Arc<Live>, request: Request<Body>) -> Response<Body> {
        let form = match self.own_form(live, request).await {
            Ok(form) => form,
            Err(refused) => return *refused,
        };
        let named = field(&form, "address").and_then(|address| address.parse().ok());
        match named.map(LogicalAddress) {
            Some(address) if address != live.session().address => {
                self.end_other(live, address).await;
                see_other(&self.way_on(live, PORTAL_PATH))
            }
            Some(_) | None => {
                self.parts.sign_off(&live.session().binding, self.now).await;
                let mut answer = self.sign_in_page("/", None, None, "", true);
                *answer.status_mut() = StatusCode::OK;
                // What the browser has kept of the application's pages goes too. Not cookies: those of its neighbours would go along.
                answer.headers_mut().insert("clear-site-data", HeaderValue::from_static("\"cache\", \"storage\""));
                answer
            }
        }
    }

    /// Another session of the same user.
    async fn end_other(&self, live: &Arc<Live>, address: LogicalAddress) {
        let theirs = self.parts.sessions.at(address).is_some_and(|other| other.session().user == live.session().user);
        if !theirs {
            return;
        }
        if let Err(error) = self.parts.sessions.revoke(&Selector::Address(address), self.now).await {
            tracing::error!(%error, "the end of a session could not be written down yet");
        }
        self.parts.forget_answers(address).await;
    }

    /// The fields of a form on a page of the guard's, which bears a token like every page.
    async fn own_form(&self, live: &Arc<Live>, request: Request<Body>) -> Result<Vec<(String, String)>, Early> {
        let headers = request.headers().clone();
        let refuse = |refusal| self.refuse_head(&headers, refusal);
        let body = Limited::new(request.into_body(), FORM_LIMIT).collect().await;
        let fields = fields(&body.map_err(|_| refuse(Refusal::Malformed))?.to_bytes());
        let carried = field(&fields, PAGE_FIELD).and_then(|token| Carried::parse(token.as_bytes()));
        let carried = carried.ok_or_else(|| refuse(Refusal::NoPage))?;
        self.shown(live, &carried).map_err(refuse)?;
        Ok(fields)
    }

    fn row(&self, other: &Live, this: &Live) -> PortalSession {
        let session = other.session();
        let device = session.device.clone().unwrap_or_default();
        let name = self.peer.tunnel.as_ref().and_then(|tunnel| tunnel.standing.device_name(&device));
        PortalSession {
            address: session.address.to_string(),
            device: name.unwrap_or(device),
            since: date_and_time(session.started),
            last_use: date_and_time(other.last_use()),
            until: date_and_time(session.expires),
            this: session.address == this.session().address,
        }
    }
}

fn script_of(source: &'static str) -> Response<Body> {
    let mut answer = Response::new(pages::whole(source));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(script::CONTENT_TYPE));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(script::CACHE_CONTROL));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

fn alive() -> Response<Body> {
    let mut answer = Response::new(pages::whole(""));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
