//! Where reads bear the token too.

use crate::site::{Page, Site};
use crate::{body, is_fresh};
use serde_json::json;
use vestibule_lab::browser::{in_browser, run};

const LINKS: &str = r##"
    <a id=link href="/next?a=b#c">x</a><a id=new href=/new target=_blank>x</a><a id=hash href="#here">x</a>
    <a id=routed href=/routed>x</a><form action=/search target=one id=search><input name=q value=r></form><iframe name=one></iframe>"##;

#[tokio::test]
async fn reads_bear_the_token_and_the_address_bar_does_not() {
    let site = Site::start().await;
    let strict = |html: &str| Page { reads: vec!["/**".into()], ..body(html) };
    let page = site.page("/p", strict(LINKS));
    site.page("/next", strict("<p>next<script>window.early = location.href</script>"));
    in_browser(|client| async move {
        client.goto(&page).await.unwrap();
        run(&client, r#"
            await fetch("/fetch"); await fetch("/head", { method: "HEAD" });
            await new Promise((done) => { const x = new XMLHttpRequest(); x.open("GET", "/xhr"); x.onloadend = done; x.send(); });
            const events = new EventSource("/events?x"); await new Promise((done) => { events.onmessage = done; }); events.close();
            if (events.url !== location.origin + "/events?x") throw events.url;
            document.forms.search.submit();
            open("/opened"); document.getElementById("new").click(); document.getElementById("hash").click();
            addEventListener("click", (event) => { if (event.target.id === "routed") { event.preventDefault(); window.routed = event.target.href; } });
            document.getElementById("routed").click();
        "#).await;
        for path in ["/fetch", "/head", "/xhr"] {
            assert!(is_fresh(site.seen(path).await.header(), "page-p"), "{path}");
        }
        for path in ["/events", "/search", "/opened", "/new"] {
            let seen = site.seen(path).await;
            assert!(is_fresh(seen.query(), "page-p"), "{seen:?}");
        }
        let href = run(&client, "return [window.routed, location.hash, document.getElementById('new').getAttribute('href')]").await;
        assert_eq!(href, json!([format!("{}/routed", site.origin), "#here", "/new"]));
        assert!(site.now_seen("/routed").is_empty());

        run(&client, "document.getElementById('link').click()").await;
        let next = site.seen("/next").await;
        assert!(is_fresh(next.query(), "page-p") && next.target.starts_with("/next?a=b&"), "{next:?}");
        let clean = format!("{}/next?a=b#c", site.origin);
        for _ in 0..50 {
            if client.current_url().await.unwrap().path() == "/next" {
                break;
            }
        }
        assert_eq!(run(&client, "return [location.href, window.early, history.length]").await, json!([clean, clean, 4]));
    }).await;
}

#[tokio::test]
async fn whatever_moves_the_page_bears_the_token() {
    let site = Site::start().await;
    let page = site.page("/p", Page { reads: vec!["/**".into()], ..body("<p>x<iframe name=one></iframe>") });
    for path in ["/assigned", "/replaced", "/set", "/refreshed"] {
        site.page(path, Page { reads: vec!["/**".into()], ..body("<p>next") });
    }
    in_browser(|client| async move {
        for (path, script) in [
            ("/assigned", "location.assign('/assigned?a=b#c')"),
            ("/replaced", "location.replace('/replaced')"),
            ("/set", "location = 'set'"),
            ("/refreshed", "document.head.insertAdjacentHTML('beforeend', '<meta http-equiv=refresh content=\"0;url=/refreshed\">')"),
        ] {
            client.goto(&page).await.unwrap();
            let before = run(&client, "return history.length").await;
            run(&client, &format!("setTimeout(() => {{ {script} }})")).await;
            let seen = site.seen(path).await;
            assert!(is_fresh(seen.query(), "page-p"), "{seen:?}");
            client.until(&format!("location.pathname === '{path}' && document.readyState === 'complete'")).await;
            if path == "/replaced" {
                assert_eq!(run(&client, "return history.length").await, before);
            }
        }
        assert_eq!(site.seen("/assigned").await.target.split(".vestibule").next(), Some("/assigned?a=b&"));
        // A file that a link brings which is in no page: it is kept, and the page stays.
        client.goto(&page).await.unwrap();
        run(&client, "const link = document.createElement('a'); link.href = '/file'; link.download = 'n.txt'; link.click()").await;
        assert!(is_fresh(site.seen("/file").await.query(), "page-p"));
        // What the application takes over does not leave the page, nor does what stays within it.
        run(&client, r##"
            navigation.addEventListener("navigate", (event) => {
                if (event.destination.url.endsWith("/routed")) event.intercept({ handler: async () => { window.routed = true; } });
            });
            location.hash = "here";
            history.pushState(null, "", "/pushed");
            location.assign("/routed");
            await new Promise((done) => setTimeout(done, 300));
        "##).await;
        assert_eq!(run(&client, "return [window.routed, location.pathname]").await, json!([true, "/routed"]));
        assert!(site.now_seen("/routed").is_empty() && site.now_seen("/pushed").is_empty());
    })
    .await;
}

#[tokio::test]
async fn only_the_paths_that_say_so() {
    let site = Site::start().await;
    let reads = vec!["/reports/**".into(), "/orders/*/delete".into(), "/a.*".into(), "/{user}/x".into()];
    let page = site.page("/p", Page { reads, ..body("<p>x") });
    in_browser(|client| async move {
        client.goto(&page).await.unwrap();
        for (path, bears) in [
            ("/reports", true),
            ("/reports/a/b", true),
            ("/reportsx", false),
            ("/orders/7/delete", true),
            ("/orders/7/8/delete", false),
            ("/orders/7", false),
            ("/a.pdf", true),
            ("/ab", false),
            ("/alice/x", true),
        ] {
            run(&client, &format!("await fetch('{path}')")).await;
            assert_eq!(site.seen(path).await.header().is_some(), bears, "{path}");
        }
    })
    .await;
}
