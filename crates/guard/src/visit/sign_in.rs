//! Signing in: by the device over a tunnel, by password in a browser without the client; and what was under way is not lost.

use super::command::SEND;
use super::who::{COOKIE_LEN, binding_of};
use super::{Early, Visit, carrying};
use crate::classify::{Refusal, is_from_own_page};
use crate::kept::{BODY_LIMIT, KeptForm};
use crate::pages::{self, Button, LOGIN_PATH, Login, Notice};
use crate::path::NormalPath;
use crate::path::target_of;
use crate::sessions::{BeginError, Gone, Live, Newcomer};
use crate::users::{LoginError, User};
use crate::{Binding, Body, EntryKey, Proof, UserName};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::{BodyExt, Limited};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, SET_COOKIE};
use hyper::{Method, Request, Response, StatusCode};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The most bytes of a login form.
const FORM_LIMIT: usize = 16 << 10;

/// What a login form says.
#[derive(Default)]
struct Form {
    user: String,
    password: Zeroizing<String>,
    to: String,
    kept: Option<String>,
    /// The key that the browser made for this login.
    key: Option<EntryKey>,
}

impl Visit {
    /// A page to sign in, in the place of what was asked; a form that was sent is kept for its user.
    pub(super) async fn sign_in(&self, who: &Result<Arc<Live>, Gone>, request: Request<Body>) -> Early {
        if !pages::for_person(request.headers()) {
            return self.refuse_head(request.headers(), Refusal::SignedOff);
        }
        let to = match *request.method() {
            Method::GET => target_of(request.uri()).to_owned(),
            _ => "/".to_owned(),
        };
        // What another site's page has written is not what the person wants to send.
        let own = is_from_own_page(request.headers(), &self.place.origin);
        let kept = match (own && *request.method() == Method::POST, self.peer.binding(request.headers())) {
            (true, Some(binding)) => self.rescue(&binding, request).await,
            (true, None) | (false, _) => None,
        };
        let signed_off = matches!(who, Err(Gone::SignedOff));
        Box::new(self.sign_in_page(&to, kept.as_deref(), None, "", signed_off))
    }

    /// The page itself.
    pub(super) fn sign_in_page(
        &self,
        to: &str,
        kept: Option<&str>,
        said: Option<&str>,
        user: &str,
        signed_off: bool,
    ) -> Response<Body> {
        let mut answer = if self.peer.tunnel.is_some() {
            let mut notice = Notice::of(self.words, self.words.signed_off);
            if kept.is_some() {
                notice = notice.detail(self.words.form_kept.to_owned());
            }
            let mut fields = vec![("to", to.to_owned())];
            fields.extend(kept.map(|kept| ("kept", kept.to_owned())));
            let button = Button { action: LOGIN_PATH.to_owned(), text: self.words.sign_in_again, fields };
            self.notice(StatusCode::UNAUTHORIZED, &notice.button(button))
        } else {
            let said = said.or(signed_off.then_some(self.words.signed_off.title));
            pages::page_with_script(StatusCode::UNAUTHORIZED, Login { t: self.words, user, to, said, kept }.html())
        };
        answer.headers_mut().insert(pages::REFUSED, HeaderValue::from_static(Refusal::SignedOff.word()));
        answer
    }

    /// Keeps a form for the user whose session has ended; the ticket.
    async fn rescue(&self, binding: &Binding, request: Request<Body>) -> Option<String> {
        let user = match &self.peer.tunnel {
            Some(tunnel) => tunnel.user.clone(),
            None => self.parts.sessions.former_user(binding).await.ok()??,
        };
        let (mut head, mut body) = request.into_parts();
        // The page that it came from is worthless now, and nothing that the application should see.
        if let Some(kind) = carrying::kind_of(&head.headers) {
            (_, body) = carrying::from_body(kind, &mut head.headers, body).await.ok()?;
        }
        let body = Limited::new(body, BODY_LIMIT).collect().await.ok()?.to_bytes();
        let form = KeptForm {
            method: head.method.to_string(),
            target: target_of(&head.uri).to_owned(),
            content_type: head.headers.get(CONTENT_TYPE).and_then(|value| Some(value.to_str().ok()?.to_owned())),
            body: body.to_vec(),
            claim: None,
        };
        let ticket = self.parts.kept.keep(&form, &user, &self.place.app.settings.name, self.now).await;
        ticket.ok().map(|ticket| ticket.as_str().to_owned())
    }

    /// POST to the login page.
    pub(super) async fn log_in(&self, request: Request<Body>) -> Response<Body> {
        let headers = request.headers().clone();
        let Some(form) = Form::read(request.into_body()).await else {
            return *self.refuse_head(&headers, Refusal::Malformed);
        };
        if let Some(tunnel) = &self.peer.tunnel {
            return match self.adopt(tunnel).await {
                Ok(live) => self.go_on(&live, &form, None).await,
                Err(_) => *self.refuse_head(&headers, Refusal::SignedOff),
            };
        }
        match self.parts.users.verify(&form.user, &form.password, self.now).await {
            Ok(user) => self.begin(&headers, user, &form).await,
            Err(LoginError::Store(error)) => {
                tracing::error!(%error, "nobody can sign in");
                *self.refuse_head(&headers, Refusal::UpstreamDown)
            }
            Err(refused @ (LoginError::Wrong | LoginError::Wait(_) | LoginError::Busy)) => self.wrong(&form, &refused),
        }
    }

    fn wrong(&self, form: &Form, refused: &LoginError) -> Response<Body> {
        let said = match refused {
            LoginError::Wait(span) => format!("{} ({} s)", self.words.wait, span.as_secs() + 1),
            LoginError::Busy => self.words.busy.to_owned(),
            LoginError::Wrong | LoginError::Store(_) => self.words.wrong_password.to_owned(),
        };
        self.sign_in_page(&form.to, form.kept.as_deref(), Some(&said), &form.user, false)
    }

    /// A fresh session under a fresh cookie; the former one, if there was one, ends.
    async fn begin(&self, headers: &HeaderMap, user: User, form: &Form) -> Response<Body> {
        if let Some(former) = self.peer.binding(headers) {
            self.parts.sign_off(&former, self.now).await;
        }
        let mut secret = Zeroizing::new([0; COOKIE_LEN]);
        let filled = rand::fill(secret.as_mut());
        let cookie = Zeroizing::new(URL_SAFE_NO_PAD.encode(&secret[..]));
        let (Ok(()), Some(binding)) = (filled, binding_of(&cookie)) else {
            return *self.refuse_head(headers, Refusal::UpstreamDown);
        };
        let who = Newcomer {
            user: user.name,
            groups: user.groups,
            device: None,
            client: self.peer.client,
            proof: Proof::Cookie,
            // From here on it stays what it is: whoever has the cookie alone can't put another in its place.
            entry_key: form.key,
        };
        match self.parts.sessions.begin(who, binding, self.now).await {
            Ok(live) => self.go_on(&live, form, Some(&cookie)).await,
            Err(BeginError::Taken | BeginError::Full | BeginError::Exhausted(_) | BeginError::Store(_)) => {
                *self.refuse_head(headers, Refusal::UpstreamDown)
            }
        }
    }

    /// Signed in: on to where the person was going, or to the form that was kept.
    async fn go_on(&self, live: &Arc<Live>, form: &Form, cookie: Option<&str>) -> Response<Body> {
        let kept = match &form.kept {
            Some(ticket) => self.offer_kept(live, ticket).await,
            None => None,
        };
        let mut answer = match kept {
            Some(page) => page,
            None => see_other(&self.way_on(live, own_path(&form.to))),
        };
        if let Some(value) = cookie {
            let secure = if self.peer.tls { "; Secure" } else { "" };
            let field = format!("{}={value}; Path=/; HttpOnly; SameSite=Lax{secure}", self.peer.cookie());
            if let Ok(field) = HeaderValue::try_from(field) {
                answer.headers_mut().append(SET_COOKIE, field);
            }
        }
        answer
    }

    /// Where the person was going. Who has just been proven comes in without being asked again, where pages are strict.
    pub(super) fn way_on(&self, live: &Live, to: &str) -> String {
        let open = self.place.app.settings.strict.is_empty() || self.may_command(to);
        if open { to.to_owned() } else { self.led_to(live, to) }
    }

    /// Whether reading this address may be a command: nobody is led into one by a link and a login.
    fn may_command(&self, to: &str) -> bool {
        let path = to.split(['?', '#']).next().unwrap_or_default();
        let commands = &self.place.app.settings.rules.get_commands;
        NormalPath::from_request(path)
            .map_or(!commands.is_empty(), |path| commands.iter().any(|command| command.may_match(&path)))
    }

    /// The form that was kept, with a button that sends it.
    async fn offer_kept(&self, live: &Arc<Live>, ticket: &str) -> Option<Response<Body>> {
        let (user, app): (&UserName, _) = (&live.session().user, &self.place.app.settings.name);
        let form = self.parts.kept.find(ticket, user, app, self.now).await.ok()??;
        let button = self.offer(live, &form, SEND, self.words.send_it).await?;
        // It is kept anew, under a ticket of its own.
        if let Err(error) = self.parts.kept.forget(ticket).await {
            tracing::warn!(%error, "a kept form stays until it expires");
        }
        let notice = Notice::of(self.words, self.words.form_waits).button(button).link(self.words.back_to_app, "/");
        Some(self.notice(StatusCode::OK, &notice))
    }
}

impl Form {
    async fn read(body: Body) -> Option<Self> {
        let bytes = Limited::new(body, FORM_LIMIT).collect().await.ok()?.to_bytes();
        let mut form = Self::default();
        for (name, value) in fields(&bytes) {
            match name.as_str() {
                "user" => form.user = value,
                "password" => form.password = Zeroizing::new(value),
                "to" => form.to = value,
                "kept" => form.kept = Some(value),
                "key" => form.key = EntryKey::read(&value),
                _ => {}
            }
        }
        Some(form)
    }
}

/// The fields of an `application/x-www-form-urlencoded` body; what isn't UTF-8 is left out.
pub(super) fn fields(body: &[u8]) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
    };
    let text = std::str::from_utf8(body).unwrap_or_default();
    let pairs = text.split('&').take(64).filter_map(|pair| pair.split_once('='));
    pairs.filter_map(|(name, value)| Some((decode(name)?, decode(value)?))).collect()
}

/// The value of the first field of this name.
pub(super) fn field<'f>(fields: &'f [(String, String)], name: &str) -> Option<&'f str> {
    fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// The login page, from which it goes on to this address.
pub(super) fn login_to(to: &str) -> String {
    format!("{LOGIN_PATH}?to={}", percent_encoding::utf8_percent_encode(to, percent_encoding::NON_ALPHANUMERIC))
}

/// A path on this very host; anything else is its front page.
pub(super) fn own_path(to: &str) -> &str {
    let plain = to.starts_with('/') && !to.starts_with("//") && !to.contains(['\\', '\r', '\n', '\t']);
    if plain { to } else { "/" }
}

pub(super) fn see_other(to: &str) -> Response<Body> {
    let mut answer = Response::new(pages::whole(""));
    *answer.status_mut() = StatusCode::SEE_OTHER;
    let location = HeaderValue::try_from(to).unwrap_or_else(|_| HeaderValue::from_static("/"));
    answer.headers_mut().insert(LOCATION, location);
    answer.headers_mut().insert(hyper::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_elsewhere() {
        for good in ["/", "/orders?x=1#y", "/a//b"] {
            assert_eq!(own_path(good), good);
        }
        for bad in [
            "",
            "https://evil.example/",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil",
            "/\tx",
            "/a\r\nb",
            "javascript:0",
        ] {
            assert_eq!(own_path(bad), "/", "{bad}");
        }
    }

    #[test]
    fn the_login_page_leads_back() {
        let address = login_to("/orders?x=a b&y=%26ä#z");
        let (_, query) = address.split_once('?').unwrap();
        assert_eq!(fields(query.as_bytes()), [("to".to_owned(), "/orders?x=a b&y=%26ä#z".to_owned())]);
    }

    #[test]
    fn a_form_is_read() {
        let read = fields(b"user=al%69ce&password=a+b%2Bc&bad=%ff&x");
        assert_eq!(read, [("user".to_owned(), "alice".to_owned()), ("password".to_owned(), "a b+c".to_owned())]);
    }
}
