//! The demo's scene before the page guard: a naive order-entry application, a double click, a repeat, strangers' pages.

use super::Story;
use super::cast::Cast;
use super::scenes::{broken, connect};
use crate::fault::Fault;
use std::io::{Read, Write};
use std::net::SocketAddr;

/// The host under which Alice's browser knows the application.
const HOST: &str = "orders.localhost";
/// What a browser sends when a form of the page itself is sent.
const OWN_FORM: &[&str] = &["Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"];

/// An answer of the guard.
struct Answer {
    status: u16,
    body: String,
}

/// What a browser would do, by hand.
struct Browser {
    proxy: SocketAddr,
}

/// Plays the scene.
pub(super) fn play(story: &mut Story, cast: &Cast) -> Result<(), Fault> {
    story.step("A page guard stands before a naive order-entry application");
    let browser = Browser { proxy: cast.http_proxy };
    let page = browser.get("/")?;
    let token = token_of(&page.body);
    story.check(page.status == 200 && token.is_some(), "every page that it sends bears a token of its own");
    let token = token.unwrap_or_default();
    clicks(story, &browser, &token)?;
    strangers(story, &browser)?;
    grants(story, &browser)?;
    sign_off(story, &browser, &token)
}

fn clicks(story: &mut Story, browser: &Browser, token: &str) -> Result<(), Fault> {
    let form = format!(".vestibule={token}&item=paper&count=3");
    let (one, two) = std::thread::scope(|scope| {
        let first = scope.spawn(|| browser.post("/orders", OWN_FORM, &form));
        let second = scope.spawn(|| browser.post("/orders", OWN_FORM, &form));
        (first.join(), second.join())
    });
    let panicked = |_| Fault::unexpected("a click of the demo panicked");
    let (one, two) = (one.map_err(panicked)??, two.map_err(panicked)??);
    let placed = |answer: &Answer| answer.status == 200 && answer.body.contains("Order number 1 ");
    story.check(
        placed(&one) && placed(&two) && browser.orders()? == Some(1),
        "a double click places one order, and both clicks get its answer",
    );
    let again = browser.post("/orders", OWN_FORM, &form)?;
    story.check(
        again.status == 409 && again.body.contains("Already processed") && browser.orders()? == Some(1),
        "Back and send again: \"Already processed\", and still one order",
    );
    Ok(())
}

fn strangers(story: &mut Story, browser: &Browser) -> Result<(), Fault> {
    let without = browser.post("/orders", OWN_FORM, "item=paper&count=1")?;
    story.check(without.status == 403, "a command that no page of the application offered is refused");
    let elsewhere = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Origin: http://evil.example"];
    let cross = browser.post("/orders", &elsewhere, "item=paper&count=1")?;
    story.check(
        cross.status == 403 && browser.orders()? == Some(1),
        "a command that a page of another site sends through Alice's browser is refused",
    );
    Ok(())
}

fn grants(story: &mut Story, browser: &Browser) -> Result<(), Fault> {
    let reports = browser.get("/reports")?;
    story.check(
        reports.status == 403 && reports.body.contains("the owner of this demo"),
        "the manager's reports are refused to a clerk, who is told whom to ask",
    );
    Ok(())
}

fn sign_off(story: &mut Story, browser: &Browser, token: &str) -> Result<(), Fault> {
    let portal = browser.get("/.vestibule/")?;
    let own = token_of(&portal.body).unwrap_or_default();
    let off = browser.post("/.vestibule/sign-off", OWN_FORM, &format!(".vestibule={own}"))?;
    let form = format!(".vestibule={token}&item=paper&count=9");
    let dead = browser.post("/orders", OWN_FORM, &form)?;
    story.check(off.status == 200 && dead.status == 401, "after Alice has signed off, her pages can do nothing");
    browser.post("/.vestibule/login", OWN_FORM, "to=%2F")?;
    let foreign = browser.post("/orders", OWN_FORM, &form)?;
    story.check(
        foreign.status == 403 && browser.orders()? == Some(1),
        "nor can they in the next session, which is another one",
    );
    Ok(())
}

impl Browser {
    fn get(&self, path: &str) -> Result<Answer, Fault> {
        self.ask("GET", path, &["Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"], "")
    }

    fn post(&self, path: &str, fields: &[&str], form: &str) -> Result<Answer, Fault> {
        self.ask("POST", path, fields, form)
    }

    /// How many orders there are.
    fn orders(&self) -> Result<Option<u32>, Fault> {
        let page = self.get("/")?.body;
        let count = page.split_once("<p id=\"count\">").and_then(|(_, rest)| rest.split_once(' '));
        Ok(count.and_then(|(count, _)| count.parse().ok()))
    }

    fn ask(&self, method: &str, path: &str, fields: &[&str], form: &str) -> Result<Answer, Fault> {
        let mut stream = connect(self.proxy)?;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {HOST}:{}\r\nConnection: close\r\nAccept: text/html\r\n",
            self.proxy.port()
        );
        for field in fields {
            head.push_str(field);
            head.push_str("\r\n");
        }
        if method == "POST" {
            let kind = "application/x-www-form-urlencoded";
            head.push_str(&format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", form.len()));
        }
        stream.write_all(format!("{head}\r\n{form}").as_bytes()).map_err(broken)?;
        let mut text = Vec::new();
        stream.take(1 << 20).read_to_end(&mut text).map_err(broken)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| Fault::unexpected("the guard's answer makes no sense"))?;
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
        Ok(Answer { status, body })
    }
}

/// The token of a page's form.
fn token_of(page: &str) -> Option<String> {
    let (_, rest) = page.split_once("name=\".vestibule\" value=\"")?;
    rest.split_once('"').map(|(token, _)| token.to_owned())
}
