//! Coming to a strict application without a page, in a real browser and through the whole guard: a typed address, reload, Back, two
//! tabs; and the same cookie in another browser.

use crate::house::{self, PASSWORD};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use vestibule_guard::{Backend, Guard, GuardConfig, ModeConfig};
use vestibule_lab::browser::{Browser, in_browser, run};

/// A strict application behind a guard, for browsers without the client.
struct House {
    _dir: TempDir,
    guard: Guard,
    origin: String,
    /// What the application was asked for.
    seen: Arc<Mutex<Vec<String>>>,
}

impl House {
    async fn build() -> Self {
        let dir = TempDir::new().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let behind = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = Backend::Http(vec![format!("http://{}", behind.local_addr().unwrap())]);
        let remembers = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = behind.accept().await {
                tokio::spawn(application(stream, remembers.clone()));
            }
        });
        let config = GuardConfig { mode: ModeConfig::Strict, ..GuardConfig::default() };
        let guard = house::guard(&dir, vec![config.meant(house::app("orders"), &backend).unwrap()], &["alice"]).await;
        let origin = format!("http://orders.localhost:{}", house::serve(&guard, false, None).await);
        Self { _dir: dir, guard, origin, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }
}

/// One request, one page: its title is what was asked for.
async fn application(mut stream: TcpStream, seen: Arc<Mutex<Vec<String>>>) -> Option<()> {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let target = text.split(' ').nth(1)?.to_owned();
    if target != "/favicon.ico" {
        seen.lock().unwrap().push(target.clone());
    }
    let answer = match target.as_str() {
        "/moved" => "HTTP/1.1 302 Found\r\nlocation: /arrived?x=1\r\ncontent-length: 0\r\n\r\n".to_owned(),
        _ => {
            let page = format!(
                "<!doctype html><html><head><title>{}</title></head><body><p>secret</p><a id=next href=/next>next</a>\
                 <form method=post action=/moved><button id=send>Send</button></form>\
                 <script>window.early = location.href</script></body></html>",
                target.replace('&', "&amp;")
            );
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{page}", page.len())
        }
    };
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}

async fn sign_in(client: &Browser) {
    client.fill("#user", "alice").await;
    client.fill("#password", PASSWORD).await;
    client.click("#login button").await;
}

/// Waits for the login page.
async fn asks(client: &Browser) {
    client.until("document.querySelector('#login')").await;
}

/// Waits for the application's page with this title, and until its script is done.
async fn arrives(client: &Browser, title: &str) {
    client.until(&format!("document.title === {title:?} && document.readyState === 'complete'")).await;
}

/// What stands in the address bar, and what the page's own script found there when it began.
async fn address(client: &Browser) -> [String; 2] {
    let said = run(client, "return [location.href, window.early]").await;
    [0, 1].map(|at| said[at].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_typed_address_comes_in_and_the_address_bar_is_clean() {
    let house = House::build().await;
    in_browser(|client| async move {
        client.goto(&house.at("/start?x=1")).await.unwrap();
        assert_eq!(house.seen(), [""; 0]);
        sign_in(&client).await;
        arrives(&client, "/start?x=1").await;
        assert_eq!(address(&client).await, [house.at("/start?x=1"), house.at("/start?x=1")]);
        // Typed, with a query and a place in the page.
        client.goto(&house.at("/orders?a=b%20c&d='e|f'#there")).await.unwrap();
        arrives(&client, "/orders?a=b%20c&d=%27e|f%27").await;
        assert_eq!(address(&client).await, [(); 2].map(|()| house.at("/orders?a=b%20c&d=%27e|f%27#there")));
        // A link of the page needs no proof; its address is as clean.
        client.click("#next").await;
        arrives(&client, "/next").await;
        assert_eq!(address(&client).await, [(); 2].map(|()| house.at("/next")));
        // Reload, Back and forward again.
        client.refresh().await.unwrap();
        arrives(&client, "/next").await;
        let length = run(&client, "return history.length").await;
        client.back().await.unwrap();
        arrives(&client, "/orders?a=b%20c&d=%27e|f%27").await;
        client.forward().await.unwrap();
        arrives(&client, "/next").await;
        assert_eq!(address(&client).await, [(); 2].map(|()| house.at("/next")));
        assert_eq!(run(&client, "return history.length").await, length, "the page between stands in no history");
        // A form's answer and a redirect lead on.
        client.click("#send").await;
        arrives(&client, "/arrived?x=1").await;
        client.goto(&house.at("/moved")).await.unwrap();
        arrives(&client, "/arrived?x=1").await;
        assert_eq!(address(&client).await, [(); 2].map(|()| house.at("/arrived?x=1")));
    })
    .await;
}

#[tokio::test]
async fn two_tabs_and_the_portal() {
    let house = House::build().await;
    in_browser(|client| async move {
        client.goto(&house.at("/one")).await.unwrap();
        sign_in(&client).await;
        arrives(&client, "/one").await;
        client.new_tab().await;
        client.goto(&house.at("/two")).await.unwrap();
        arrives(&client, "/two").await;
        client.tab(0).await;
        client.refresh().await.unwrap();
        arrives(&client, "/one").await;
        client.goto(&house.at("/.vestibule/")).await.unwrap();
        client.until("document.querySelector('ul.apps')").await;
        assert_eq!(run(&client, "return location.href").await, house.at("/.vestibule/"));
        // After signing off nothing is left to prove with.
        client.click("main > form button").await;
        asks(&client).await;
        client.goto(&house.at("/one")).await.unwrap();
        asks(&client).await;
        sign_in(&client).await;
        arrives(&client, "/one").await;
        client.goto(&house.at("/three")).await.unwrap();
        arrives(&client, "/three").await;
    })
    .await;
}

#[tokio::test]
async fn a_stolen_cookie_meets_the_login_page_in_another_browser() {
    let house = Arc::new(House::build().await);
    let (owners, thiefs) = (house.clone(), house.clone());
    let stolen = Arc::new(Mutex::new(String::new()));
    let taken = stolen.clone();
    in_browser(|client| async move {
        client.goto(&owners.at("/mine")).await.unwrap();
        sign_in(&client).await;
        arrives(&client, "/mine").await;
        let cookie = client.get_named_cookie("vestibule").await.unwrap();
        taken.lock().unwrap().push_str(cookie.value());
        // The key can't be read either, by a script of this very page.
        let read = run(&client, r#"
            const done = (request) => new Promise((done) => { request.onsuccess = () => done(request.result); });
            const keys = await done(indexedDB.open(".vestibule"));
            const [first] = await done(keys.transaction("keys").objectStore("keys").getAll());
            return [first.key.extractable, await crypto.subtle.exportKey("jwk", first.key).catch((error) => error.name)];
        "#).await;
        assert_eq!(read, serde_json::json!([false, "InvalidAccessError"]));
    })
    .await;
    let before = house.seen();
    in_browser(|client| async move {
        client.goto(&thiefs.at("/.vestibule/login")).await.unwrap();
        let value = stolen.lock().unwrap().clone();
        run(&client, &format!("document.cookie = 'vestibule={value}; path=/'")).await;
        for path in ["/mine", "/mine?x=1#y", "/.vestibule/", "/moved"] {
            client.goto(&thiefs.at(path)).await.unwrap();
            asks(&client).await;
            let source = client.source().await.unwrap();
            assert!(!source.contains("secret") && !source.contains("alice"), "{source}");
        }
    })
    .await;
    assert_eq!(house.seen(), before);
    assert_eq!(house.guard.sessions().len(), 1, "and the owner's session goes on");
}
