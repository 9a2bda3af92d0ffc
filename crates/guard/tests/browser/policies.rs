//! Under the application's own policies; documents inside attributes; the end of a session.

use crate::site::{Page, Site};
use crate::{body, is_fresh};
use serde_json::json;
use vestibule_lab::browser::{in_browser, run};

const POLICIES: [&str; 7] = [
    "script-src 'self'",
    "default-src 'none'; connect-src 'self'",
    "script-src 'nonce-abc' 'strict-dynamic'; object-src 'none'; base-uri 'none'",
    "script-src 'nonce-abc'; style-src 'none'; require-trusted-types-for 'script'",
    "script-src 'unsafe-inline' https://cdn.example",
    "script-src 'strict-dynamic' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='",
    "default-src 'none'; connect-src 'self', script-src https:",
];

#[tokio::test]
async fn the_script_runs_under_the_policies_of_applications() {
    let site = Site::start().await;
    let meta = r#"<meta http-equiv=Content-Security-Policy content="script-src 'none'">"#;
    in_browser(|client| async move {
        for (number, policy) in POLICIES.into_iter().enumerate() {
            let path = format!("/p{number}");
            let page = site.page(&path, Page { policy: Some(policy), ..body("<p>x") });
            client.goto(&page).await.unwrap();
            run(&client, &format!("await fetch('/sent{number}', {{ method: 'POST' }})")).await;
            let seen = site.seen(&format!("/sent{number}")).await;
            assert!(is_fresh(seen.header(), &format!("page-p{number}")), "{policy}");
        }
        let mut page = body("<p>x");
        page.html = page.html.replace("<title>", &format!("{meta}<title>"));
        client.goto(&site.page("/meta", page)).await.unwrap();
        run(&client, "await fetch('/sent-meta', { method: 'POST' })").await;
        assert!(is_fresh(site.seen("/sent-meta").await.header(), "page-meta"));
    })
    .await;
}

#[tokio::test]
async fn a_policy_of_inline_scripts_keeps_them() {
    let site = Site::start().await;
    let policy = Some("script-src 'unsafe-inline'");
    let page =
        site.page("/p", Page { policy, ..body("<script>window.inline = 1</script><p onclick='window.inline++'>x") });
    in_browser(|client| async move {
        client.goto(&page).await.unwrap();
        let inline = run(
            &client,
            "document.querySelector('p').click(); await fetch('/sent', { method: 'POST' }); return window.inline",
        )
        .await;
        assert_eq!(inline, json!(2));
        assert!(is_fresh(site.seen("/sent").await.header(), "page-p"));
    })
    .await;
}

#[tokio::test]
async fn documents_inside_attributes() {
    let site = Site::start().await;
    let inner = "&lt;form method=post action=/inner&gt;&lt;/form&gt;";
    let html = format!("<base href=/deep/><iframe srcdoc='{inner}'></iframe>");
    let page = site.page("/p", body(&html));
    in_browser(|client| async move {
        client.goto(&page).await.unwrap();
        run(
            &client,
            r#"
            const inside = frames[0];
            await inside.fetch("/inner-fetch", { method: "POST" });
            inside.document.forms[0].submit();"#,
        )
        .await;
        assert!(is_fresh(site.seen("/inner-fetch").await.header(), "page-p"));
        assert!(is_fresh(site.seen("/inner").await.body.strip_prefix(".vestibule="), "page-p"));
    })
    .await;
}

#[tokio::test]
async fn the_end_of_the_session_is_told() {
    let site = Site::start().await;
    let policy = Some("default-src 'none'; connect-src 'self'; script-src 'self'; style-src 'none'");
    let page = site.page("/p", Page { policy, ..body("<p>x") });
    let told = "const banner = document.querySelector('[role=alert]'); return banner && \
        [banner.textContent, getComputedStyle(banner).position, banner.querySelector('a').getAttribute('href')];";
    in_browser(|client| async move {
        client.goto(&page).await.unwrap();
        run(&client, "dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))").await;
        let alive = site.seen("/.vestibule/alive").await;
        assert_eq!(alive.method, "HEAD");
        run(&client, "await fetch('/before', { method: 'POST' })").await;
        assert_eq!(run(&client, told).await, json!(null));
        site.sign_off();
        for script in [
            "await fetch('/after', { method: 'POST' })",
            "await new Promise((done) => { const x = new XMLHttpRequest(); x.open('POST', '/x'); x.onloadend = () => setTimeout(done); x.send(); })",
            "dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })); await new Promise((done) => setTimeout(done, 1000))",
        ] {
            client.goto(&page).await.unwrap();
            run(&client, script).await;
            let text = "You are signed off. Sign in, then load this page again.Sign in";
            assert_eq!(run(&client, told).await, json!([text, "fixed", format!("{}/.vestibule/login", site.origin)]), "{script}");
        }
    }).await;
}
