//! What other sites, neighbours and former users can make a browser do to a whole guard: nothing.

use crate::house::{self, PASSWORD};
use crate::site::{answer, read};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use vestibule_guard::{AppSettings, Backend, Guard, GuardConfig};
use vestibule_lab::browser::{Browser, in_browser, in_browser_like};

const ORDER: &str =
    "<form id=order method=post action=/orders><input name=item value=Desk><button id=go>Order</button></form>";
const XHTML: &str = concat!(
    "<?xml version=\"1.0\" encoding=\"utf-8\"?><!DOCTYPE html><html xmlns=\"http://www.w3.org/1999/xhtml\"><head><title/>",
    "<script src=\"/a.js\"/></head><body><p id=\"kind\">&#60;xml&#62;</p><form id=\"order\" method=\"post\" action=\"/orders\">",
    "<p><input name=\"item\" value=\"Desk\"/><button id=\"go\">Order</button></p></form><form method=\"post\"/></body></html>"
);
/// A neighbour whose page throws cookies about, by itself and by its script.
const TOSS: &str = "<p id=tossed>x</p><script>
    for (const name of ['vestibule', '__Host-vestibule', '__Host-vestibule '])
        for (const scope of ['', '; domain=example.test', '; domain=.example.test; secure', '; secure'])
            document.cookie = name + '=' + 'A'.repeat(43) + '; path=/' + scope;
    </script>";

/// The commands that an application was given: by whom, and what.
type Given = Arc<Mutex<Vec<(String, String)>>>;

async fn application() -> (SocketAddr, Given) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, given) = (listener.local_addr().unwrap(), Given::default());
    let noted = given.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let given = noted.clone();
            tokio::spawn(async move {
                let seen = read(&mut stream).await?;
                let user = seen.headers.get("vestibule-user").cloned().unwrap_or_default();
                if seen.method == "POST" {
                    given.lock().unwrap().push((user.clone(), seen.body.clone()));
                }
                let done = given.lock().unwrap().len();
                let (kind, body) = match seen.target.split('?').next()? {
                    "/xhtml" => ("application/xhtml+xml", XHTML.to_owned()),
                    "/a.js" => ("text/javascript", "window.ran = true;".to_owned()),
                    "/toss" => ("text/html", TOSS.to_owned()),
                    _ => (
                        "text/html",
                        format!("<!doctype html><title>x</title><p id=user>{user}</p><p id=done>{done}</p>{ORDER}"),
                    ),
                };
                let tossed = format!("vestibule={}; Path=/; Domain=example.test", "A".repeat(43));
                let fields = [("content-type", kind), ("set-cookie", tossed.as_str())];
                stream.write_all(&answer("200 OK", &fields, body.as_bytes())).await.ok()
            });
        }
    });
    (address, given)
}

/// Another site: the same page at every address.
async fn elsewhere(html: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let html = html.clone();
            tokio::spawn(async move {
                read(&mut stream).await?;
                stream.write_all(&answer("200 OK", &[("content-type", "text/html")], html.as_bytes())).await.ok()
            });
        }
    });
    port
}

struct House {
    dir: TempDir,
    guard: Guard,
    given: Given,
}

impl House {
    async fn build() -> Self {
        let dir = TempDir::new().unwrap();
        let (address, given) = application().await;
        let app = |name: &str| {
            let behind = Backend::Http(vec![format!("http://{address}")]);
            let made = GuardConfig::default().meant(house::app(name), &behind).unwrap();
            AppSettings { hosts: vec![format!("{name}.example.test")], ..made }
        };
        let guard = house::guard(&dir, vec![app("orders"), app("wiki")], &["alice", "bob"]).await;
        Self { dir, guard, given }
    }

    async fn serve(&self, tunnel: bool, tls: Option<TlsAcceptor>) -> u16 {
        house::serve(&self.guard, tunnel, tls).await
    }

    fn given(&self) -> Vec<(String, String)> {
        self.given.lock().unwrap().clone()
    }

    /// A certificate that nobody vouches for.
    fn acceptor(&self) -> TlsAcceptor {
        let at = |name: &str| self.dir.path().join(name);
        let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=example.test";
        let mut command = Command::new("openssl");
        command.args(words.split(' ')).arg("-keyout").arg(at("key.pem")).arg("-out").arg(at("cert.pem"));
        assert!(command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("openssl is installed").success());
        let chain = vec![CertificateDer::from_pem_file(at("cert.pem")).unwrap()];
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(at("key.pem")).unwrap());
        TlsAcceptor::from(Arc::new(config.unwrap()))
    }
}

async fn signs_in(browser: &Browser, at: &str, user: &str) {
    browser.goto(at).await.unwrap();
    browser.fill("#user", user).await;
    browser.fill("#password", PASSWORD).await;
    browser.click("form button.button").await;
    browser.until(&format!("document.getElementById('user')?.textContent === '{user}'")).await;
}

async fn orders(browser: &Browser, count: usize) {
    browser.click("#go").await;
    browser.until(&format!("document.getElementById('done')?.textContent === '{count}'")).await;
}

/// Lets another site's page do its worst, and looks at what came of it.
async fn suffers(browser: &Browser, port: u16, shows: &str) {
    browser.goto(&format!("http://127.0.0.1:{port}/")).await.unwrap();
    browser.until(&format!("document.body && document.body.innerText.includes('{shows}')")).await;
}

/// A page that sends a form by itself, as soon as it is there.
fn sending(to: &str, fields: &str) -> String {
    format!(
        "<!doctype html><form method=post action=\"{to}\">{fields}</form><script>document.forms[0].submit()</script>"
    )
}

#[tokio::test]
async fn a_page_of_another_origin_gives_no_command() {
    let house = House::build().await;
    for tunnel in [true, false] {
        let port = house.serve(tunnel, None).await;
        let target = format!("http://orders.localhost:{port}");
        let item = "<input name=item value=Yacht>";
        let form = elsewhere(sending(&format!("{target}/orders"), item)).await;
        // Everything else that a page can send: none of it waits for an answer that it may read.
        let script = elsewhere(format!(
            "<!doctype html><img src=\"{target}/orders?item=Yacht\"><script>
            const to = '{target}/orders', body = new URLSearchParams('item=Yacht');
            navigator.sendBeacon(to, body);
            Promise.allSettled([fetch(to, {{ method: 'POST', mode: 'no-cors', credentials: 'include', body }}),
                fetch(to, {{ method: 'POST', credentials: 'include', body, headers: {{ 'vestibule-page': 'A' }} }}),
                fetch(to, {{ method: 'DELETE', credentials: 'include' }})]).then(() => document.body.append('all sent'));
            </script>"
        ))
        .await;
        in_browser(|browser| async move {
            match tunnel {
                true => browser.goto(&format!("{target}/")).await.unwrap(),
                false => signs_in(&browser, &format!("{target}/"), "alice").await,
            }
            suffers(&browser, form, "another site").await;
            suffers(&browser, script, "all sent").await;
            browser.goto(&format!("{target}/")).await.unwrap();
            browser.until("document.getElementById('user')?.textContent === 'alice'").await;
        })
        .await;
        assert!(house.given().is_empty(), "tunnel: {tunnel}: {:?}", house.given());
    }
}

#[tokio::test]
async fn a_page_of_another_origin_signs_nobody_in_or_off() {
    let house = House::build().await;
    let port = house.serve(false, None).await;
    let target = format!("http://orders.localhost:{port}");
    let fields = format!("<input name=user value=bob><input name=password value=\"{PASSWORD}\">");
    let login = elsewhere(sending(&format!("{target}/.vestibule/login"), &fields)).await;
    let sign_off = elsewhere(sending(&format!("{target}/.vestibule/sign-off"), "")).await;
    in_browser(|browser| async move {
        // Nobody is signed in: the attacker's own account would do.
        suffers(&browser, login, "another site").await;
        assert!(browser.get_all_cookies().await.unwrap().is_empty());
        signs_in(&browser, &format!("{target}/"), "alice").await;
        suffers(&browser, login, "another site").await;
        suffers(&browser, sign_off, "another site").await;
        browser.goto(&format!("{target}/")).await.unwrap();
        browser.until("document.getElementById('user')?.textContent === 'alice'").await;
    })
    .await;
}

#[tokio::test]
async fn a_planted_cookie_is_not_adopted() {
    let house = House::build().await;
    let port = house.serve(false, None).await;
    let target = format!("http://orders.localhost:{port}/");
    in_browser(|browser| async move {
        browser.goto(&target).await.unwrap();
        let planted = format!("document.cookie = 'vestibule={}; path=/'", "A".repeat(43));
        browser.run(&planted).await;
        signs_in(&browser, &target, "alice").await;
        let cookies = browser.get_all_cookies().await.unwrap();
        let own: Vec<_> = cookies.iter().filter(|cookie| cookie.name() == "vestibule").collect();
        assert_eq!(own.len(), 1);
        assert!(own[0].value() != "A".repeat(43) && own[0].http_only() == Some(true), "{own:?}");
        // Nor can a script of the application put another in its place.
        browser.run(&planted).await;
        browser.goto(&target).await.unwrap();
        browser.until("document.getElementById('user')?.textContent === 'alice'").await;
    })
    .await;
}

#[tokio::test]
async fn a_neighbour_tosses_no_cookie() {
    let house = House::build().await;
    let port = house.serve(false, Some(house.acceptor())).await;
    let names = ["--host-resolver-rules=MAP *.example.test 127.0.0.1", "--ignore-certificate-errors"];
    let at = |name: &str, path: &str| format!("https://{name}.example.test:{port}{path}");
    in_browser_like(&names, None, |browser| async move {
        // Before the victim is signed in, and afterwards.
        for victim_first in [false, true] {
            if victim_first {
                signs_in(&browser, &at("orders", "/"), "alice").await;
            } else {
                signs_in(&browser, &at("wiki", "/"), "bob").await;
            }
            browser.goto(&at("wiki", "/toss")).await.unwrap();
            browser.until("document.getElementById('tossed')").await;
            browser.goto(&at("orders", "/")).await.unwrap();
            let expected = if victim_first {
                "document.getElementById('user')?.textContent === 'alice'"
            } else {
                "document.getElementById('password')"
            };
            browser.until(expected).await;
        }
    })
    .await;
}

#[tokio::test]
async fn two_tabs_keep_working() {
    let house = House::build().await;
    let port = house.serve(false, None).await;
    let target = format!("http://orders.localhost:{port}/");
    in_browser(|browser| async move {
        signs_in(&browser, &target, "alice").await;
        browser.new_tab().await;
        browser.goto(&target).await.unwrap();
        // The older page's command after the younger page's, and once more each.
        orders(&browser, 1).await;
        browser.tab(0).await;
        orders(&browser, 2).await;
        browser.tab(1).await;
        orders(&browser, 3).await;
        browser.tab(0).await;
        orders(&browser, 4).await;
    })
    .await;
    assert_eq!(house.given().len(), 4);
}

#[tokio::test]
async fn two_users_one_after_the_other_in_one_browser() {
    let house = House::build().await;
    let port = house.serve(false, None).await;
    let target = format!("http://orders.localhost:{port}/");
    let given = house.given.clone();
    in_browser(|browser| async move {
        signs_in(&browser, &target, "alice").await;
        browser.new_tab().await;
        browser.goto(&format!("{target}.vestibule/")).await.unwrap();
        browser.click("form button.button").await;
        browser.until("document.body.innerText.includes('signed off')").await;
        signs_in(&browser, &target, "bob").await;
        // Alice's page is still there, in the other tab: it does nothing, least of all in Bob's name.
        browser.tab(0).await;
        browser.click("#go").await;
        browser.until("document.body.innerText.includes('another session')").await;
        assert!(given.lock().unwrap().is_empty());
        browser.tab(1).await;
        orders(&browser, 1).await;
    })
    .await;
    assert_eq!(house.given(), [("bob".to_owned(), "item=Desk".to_owned())]);
}

#[tokio::test]
async fn a_page_used_after_signing_off() {
    let house = House::build().await;
    let port = house.serve(true, None).await;
    let target = format!("http://orders.localhost:{port}/");
    in_browser(|browser| async move {
        browser.goto(&target).await.unwrap();
        browser.new_tab().await;
        browser.goto(&format!("{target}.vestibule/")).await.unwrap();
        browser.click("form button.button").await;
        browser.until("document.body.innerText.includes('signed off')").await;
        browser.tab(0).await;
        browser.click("#go").await;
        browser.until("document.body.innerText.includes('signed off')").await;
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(house.given().is_empty());
}

#[tokio::test]
async fn a_page_of_xml_works() {
    let house = House::build().await;
    let port = house.serve(true, None).await;
    let target = format!("http://orders.localhost:{port}/xhtml");
    in_browser(|browser| async move {
        browser.goto(&target).await.unwrap();
        browser.until("document.contentType === 'application/xhtml+xml' && window.ran").await;
        assert_eq!(browser.run("return document.getElementById('kind')?.textContent").await, "<xml>", "no error page");
        assert_eq!(browser.run("return document.querySelectorAll('parsererror').length").await, 0);
        orders(&browser, 1).await;
        assert!(browser.errors().await.iter().all(|error| error.contains("favicon")), "no error in the console");
    })
    .await;
    assert_eq!(house.given(), [("alice".to_owned(), "item=Desk".to_owned())]);
}
