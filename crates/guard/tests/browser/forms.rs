//! Forms, in all the ways in which they are sent.

use crate::site::{Page, Seen, Site};
use crate::{body, is_fresh};
use vestibule_lab::browser::{in_browser, run};

/// The forms that the rewriter sees get their number, and those made later a name of their own.
const FORMS: &str = r#"
    <form method=post action=/click target=one><input name=a value=b><button id=click>x</button></form>
    <form method=post action=/submit target=one id=submit></form>
    <form method=post action=/request target=one id=request><button name=by value=me></button></form>
    <form method=post action=/not-here target=one><button id=action formaction=/action>x</button></form>
    <form method=post action=/upload target=one enctype=multipart/form-data id=upload>
        <input type=file name=file multiple><input name=z value=ä></form>
    <form action=/turned target=one><button id=turned formmethod=post>x</button></form>
    <form action=/plain target=one id=plain><input name=a value=b></form>
    <form method=post action=/clobbered target=one id=clobbered><input name=action><input name=method><input name=target><input name=getAttribute></form>
    <form method=post action=/twice target=one id=twice></form>
    <table><form method=post action=/table target=one id=table><tr><td><input name=a value=b></td></tr></form></table>
    <iframe name=one></iframe>"#;

fn first(seen: &Seen, token: &str) -> bool {
    seen.body.strip_prefix(&format!(".vestibule={token}")).is_some_and(|rest| rest.is_empty() || rest.starts_with('&'))
}

#[tokio::test]
async fn forms_bear_the_token_first() {
    let (site, other) = (Site::start().await, Site::start().await);
    let away = format!(
        "<form method=post action={0}/away target=one id=away></form><form method=post action=/x target=one>\
        <button id=gone formaction={0}/gone>x</button></form>",
        other.origin
    );
    let page = site.page("/p", body(&format!("{FORMS}{away}")));
    in_browser(|client| async move {
        client.goto(&page).await.unwrap();
        let step = async |script: &str, path: &str| {
            run(&client, script).await;
            site.seen(path).await
        };
        let click = step("document.getElementById('click').click()", "/click").await;
        assert_eq!(click.body, ".vestibule=page-p.f0&a=b");
        let submit = step("document.forms.submit.submit()", "/submit").await;
        assert_eq!(submit.body, ".vestibule=page-p.f1");
        let request = step("document.forms.request.requestSubmit(document.forms.request.elements.by)", "/request").await;
        assert_eq!(request.body, ".vestibule=page-p.f2&by=me");
        assert!(first(&step("document.getElementById('action').click()", "/action").await, "page-p.f3"));
        let upload = step(r#"
            const files = new DataTransfer(); files.items.add(new File(["one"], "1.txt")); files.items.add(new File(["two"], "2.txt"));
            document.forms.upload.elements.file.files = files.files; document.forms.upload.requestSubmit();"#, "/upload").await.body;
        let part = upload.split_once("\r\n").unwrap().1;
        assert!(part.starts_with("Content-Disposition: form-data; name=\".vestibule\"\r\n\r\npage-p.f4\r\n"), "{upload}");
        let places = ["filename=\"1.txt\"", "filename=\"2.txt\"", "name=\"z\""].map(|word| upload.find(word).unwrap());
        assert!(places.is_sorted() && upload.contains("two") && upload.contains('ä'), "{upload}");
        assert!(first(&step("document.getElementById('turned').click()", "/turned").await, "page-p.f5"));
        assert_eq!(step("document.forms.plain.submit()", "/plain").await.target, "/plain?a=b");
        assert!(first(&step("HTMLFormElement.prototype.submit.call(document.forms.clobbered)", "/clobbered").await, "page-p.f7"));
        run(&client, "document.forms.twice.submit(); await new Promise((done) => setTimeout(done, 300)); document.forms.twice.requestSubmit()").await;
        let twice = site.all_seen("/twice", 2).await;
        assert!(first(&twice[0], "page-p.f8") && twice[0].body == twice[1].body, "{twice:?}");
        assert_eq!(step("document.forms.table.submit()", "/table").await.body, ".vestibule=page-p.f9&a=b");
        run(&client, "document.forms.away.submit()").await;
        assert_eq!(other.seen("/away").await.body, "");
        run(&client, "document.getElementById('gone').click()").await;
        assert_eq!(other.seen("/gone").await.body, "");
    }).await;
}

#[tokio::test]
async fn forms_made_or_changed_after_the_page() {
    let site = Site::start().await;
    let page = site.page(
        "/p",
        body(
            "<iframe name=one></iframe><form id=late target=one></form><form method=post id=app><input name=a></form>",
        ),
    );
    in_browser(|client| async move {
        client.goto(&page).await.unwrap();
        run(&client, r#"
            const made = document.createElement("form"); made.method = "post"; made.action = "/made"; made.target = "one";
            document.body.append(made); made.submit(); await new Promise((done) => setTimeout(done, 300)); made.submit();
        "#).await;
        let made = site.all_seen("/made", 2).await;
        assert!(is_fresh(made[0].body.strip_prefix(".vestibule="), "page-p"), "{made:?}");
        assert_eq!(made[0].body, made[1].body, "one form is one action");
        run(&client, r#"
            const late = document.forms.late; late.method = "post"; late.action = "/late";
            late.innerHTML = "<button>x</button>"; late.firstChild.click();"#).await;
        assert!(is_fresh(site.seen("/late").await.body.strip_prefix(".vestibule="), "page-p"));
        run(&client, r#"
            const box = document.createElement("div"); document.body.append(box);
            const root = box.attachShadow({ mode: "open" });
            root.innerHTML = "<form method=post action=/shadow target=one><button>x</button></form>"; root.querySelector("button").click();
        "#).await;
        assert!(is_fresh(site.seen("/shadow").await.body.strip_prefix(".vestibule="), "page-p"));
        // A fragment that was rewritten bears the token of its own.
        run(&client, r#"
            const part = document.createElement("div"); document.body.append(part);
            part.innerHTML = '<form method=post action=/part target=one><input type=hidden name=".vestibule" value="part.f0"></form>';
            part.firstChild.submit();"#).await;
        assert_eq!(site.seen("/part").await.body, ".vestibule=part.f0");
        // The application sends it by itself.
        run(&client, r#"
            let sent; const app = document.forms.app;
            app.addEventListener("submit", (event) => { event.preventDefault(); sent = fetch("/app", { method: "POST", body: new URLSearchParams(new FormData(app)) }); });
            app.requestSubmit(); await sent;"#).await;
        let app = site.seen("/app").await;
        assert!(app.body == "a=" && is_fresh(app.header(), "page-p"), "{app:?}");
        // document.open() leaves the window and takes its listeners.
        run(&client, r#"
            document.open(); document.write("<iframe name=two></iframe><form method=post action=/written target=two></form>"); document.close();
            document.forms[0].requestSubmit();"#).await;
        assert!(is_fresh(site.seen("/written").await.body.strip_prefix(".vestibule="), "page-p"));
    }).await;
}

#[tokio::test]
async fn forms_without_the_script() {
    let site = Site::start().await;
    let page = site.page("/p", Page { bare: true, ..body(FORMS) });
    in_browser(|client| async move {
        client.goto(&page).await.unwrap();
        for (script, path, expected) in [
            ("document.getElementById('click').click()", "/click", ".vestibule=page-p.f0&a=b"),
            ("document.forms.table.submit()", "/table", ".vestibule=page-p.f9&a=b"),
            ("document.getElementById('turned').click()", "/turned", ".vestibule=page-p.f5"),
        ] {
            run(&client, script).await;
            assert_eq!(site.seen(path).await.body, expected);
        }
    })
    .await;
}
