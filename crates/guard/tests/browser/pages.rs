//! The guard's own pages as a person meets them: on narrow and wide screens, light and dark, by keyboard alone, in two languages,
//! with scripts switched off.

use crate::house::{self, PASSWORD};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;
use vestibule_guard::{Backend, Guard, GuardConfig, ModeConfig};
use vestibule_lab::browser::{Client, Key, Locator, in_browser_like, run};

const DARK: &str = "--blink-settings=preferredColorScheme=0";
const LIGHT: &str = "--blink-settings=preferredColorScheme=1";
const WIDTHS: [u32; 3] = [360, 800, 1_280];

/// Colours that are too close, things that stick out, targets too small to hit (WCAG 2.2: 1.4.3, 1.4.10, 2.5.8).
const FAULTS: &str = r"
    const light = (colour) => {
        const [r, g, b] = colour.match(/[\d.]+/g).map((part) => part / 255)
            .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        for (let e = element; e; e = e.parentElement) {
            const colour = getComputedStyle(e).backgroundColor;
            if (!colour.endsWith(', 0)')) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const faults = [];
    for (const element of document.querySelectorAll('body *')) {
        const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        const box = element.getBoundingClientRect();
        if (!box.width || element.closest('.skip, .hidden')) continue;
        if (text) {
            const [a, b] = [light(getComputedStyle(element).color), light(ground(element))].sort((a, b) => b - a);
            if ((a + 0.05) / (b + 0.05) < 4.5) faults.push('contrast: ' + element.outerHTML.slice(0, 80));
        }
        if (element.matches('button, .button, input:not([type=hidden])') && (box.height < 24 || box.width < 24))
            faults.push('small: ' + element.outerHTML.slice(0, 80));
    }
    if (document.documentElement.scrollWidth > innerWidth) faults.push('wider than the screen');
    if (document.querySelectorAll('h1').length !== 1) faults.push('headings');
    if (!document.documentElement.lang || !document.title) faults.push('language or title');
    if (document.querySelector('script:not([src*=vestibule]), [style], [onclick]')) faults.push('inline code');
    return faults.join('; ');";

/// A guard without anything behind it: its own pages need nothing.
struct House {
    _dir: TempDir,
    guard: Guard,
}

impl House {
    async fn build() -> Self {
        let dir = TempDir::new().unwrap();
        let config = GuardConfig {
            owner: Some("the sales office".to_owned()),
            rules: serde_json::from_str(r#"[{"who":"group:managers","paths":["/reports"]}]"#).unwrap(),
            ..GuardConfig::default()
        };
        let behind = Backend::Http(vec!["http://127.0.0.1:9".to_owned()]);
        let app = |name: &str| config.meant(house::app(name), &behind).unwrap();
        let strict = GuardConfig { mode: ModeConfig::Strict, ..GuardConfig::default() };
        let vault = strict.meant(house::app("vault"), &behind).unwrap();
        let guard = house::guard(&dir, vec![app("orders"), app("wiki"), vault], &["alice"]).await;
        Self { _dir: dir, guard }
    }

    async fn serve(&self, tunnel: bool) -> u16 {
        house::serve(&self.guard, tunnel, None).await
    }
}

/// Looks at the page that is shown, and leaves a picture of it for people to look at.
async fn look(client: &Client, name: &str) {
    let faults = run(client, FAULTS).await;
    assert_eq!(faults, "", "{name}");
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pages");
    fs::create_dir_all(&folder).unwrap();
    let picture = client.screenshot().await.unwrap();
    assert!(picture.len() > 2_000, "{name}: an empty picture");
    fs::write(folder.join(format!("{name}.png")), picture).unwrap();
}

/// Comes to a strict application without a page, and stops there as if that had been led round in a circle.
async fn stay_at_an_entry(client: &Client, port: u16) {
    let origin = format!("http://vault.localhost:{port}");
    client.goto(&format!("{origin}/.vestibule/login")).await.unwrap();
    client.find(Locator::Id("user")).await.unwrap().send_keys("alice").await.unwrap();
    let typed = format!("{PASSWORD}{}", char::from(Key::Enter));
    client.find(Locator::Id("password")).await.unwrap().send_keys(&typed).await.unwrap();
    client.wait().for_element(Locator::Css("main:not(:has(#login))")).await.unwrap();
    run(client, "sessionStorage.setItem('.vestibule', JSON.stringify(Array(30).fill(Date.now())))").await;
    client.goto(&format!("{origin}/plans")).await.unwrap();
    client.wait().for_element(Locator::Id("entry")).await.unwrap();
    let again = client.find(Locator::Id("again")).await.unwrap().attr("href").await.unwrap();
    assert_eq!(again.as_deref(), Some("/.vestibule/login?to=%2Fplans"));
}

#[tokio::test]
async fn every_page_at_three_widths_light_and_dark() {
    let house = House::build().await;
    let (tunnel, bare) = (house.serve(true).await, house.serve(false).await);
    for (scheme, how) in [("light", LIGHT), ("dark", DARK)] {
        for width in WIDTHS {
            in_browser_like(&[how], Some(width), |client| async move {
                for (name, port, path) in [
                    ("portal", tunnel, "/.vestibule/"),
                    ("not-permitted", tunnel, "/orders"),
                    ("nowhere", tunnel, "/.vestibule/nothing"),
                    ("login", bare, "/"),
                ] {
                    client.goto(&format!("http://orders.localhost:{port}{path}")).await.unwrap();
                    look(&client, &format!("{name}-{width}-{scheme}")).await;
                }
                stay_at_an_entry(&client, bare).await;
                look(&client, &format!("entry-{width}-{scheme}")).await;
            })
            .await;
        }
    }
}

#[tokio::test]
async fn in_japanese_where_the_browser_asks_for_it() {
    let house = House::build().await;
    let (port, bare) = (house.serve(true).await, house.serve(false).await);
    in_browser_like(&["--lang=ja", "--accept-lang=ja"], Some(360), |client| async move {
        client.goto(&format!("http://orders.localhost:{port}/orders")).await.unwrap();
        assert_eq!(run(&client, "return document.documentElement.lang").await, "ja");
        look(&client, "not-permitted-ja").await;
        stay_at_an_entry(&client, bare).await;
        assert!(client.source().await.unwrap().contains("もう一度サインイン"));
        look(&client, "entry-ja").await;
    })
    .await;
}

/// Signing in, looking around and signing off with the keys alone, and without scripts.
#[tokio::test]
async fn by_keyboard_alone_and_without_scripts() {
    let house = House::build().await;
    let port = house.serve(false).await;
    let without_scripts = ["--blink-settings=scriptEnabled=false"];
    in_browser_like(&without_scripts, None, |client| async move {
        client.goto(&format!("http://orders.localhost:{port}/.vestibule/")).await.unwrap();
        let typed = format!("alice{}{PASSWORD}{}", char::from(Key::Tab), char::from(Key::Enter));
        client.active_element().await.unwrap().send_keys(&typed).await.unwrap();
        client.wait().for_element(Locator::Css("ul.apps")).await.unwrap();
        let mut reached = Vec::new();
        for _ in 0..10 {
            let focused = client.active_element().await.unwrap();
            focused.send_keys(&char::from(Key::Tab).to_string()).await.unwrap();
            let focused = client.active_element().await.unwrap();
            let text = focused.text().await.unwrap();
            reached.push(text.clone());
            if text == "Sign off" {
                focused.send_keys(&char::from(Key::Enter).to_string()).await.unwrap();
                break;
            }
        }
        assert!(reached.iter().any(|text| text == "wiki"), "{reached:?}");
        client.wait().for_element(Locator::Id("password")).await.unwrap();
        assert!(client.source().await.unwrap().contains("You are signed off"));
    })
    .await;
}
