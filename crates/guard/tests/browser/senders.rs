//! Whatever a script can send with.

use crate::site::Site;
use crate::{body, is_fresh};
use serde_json::json;
use vestibule_lab::browser::{in_browser, run};

#[tokio::test]
async fn what_scripts_send_bears_the_token() {
    let (site, other) = (Site::start().await, Site::start().await);
    let page = site.page("/p", body("<p>x"));
    let elsewhere = other.origin.clone();
    in_browser(|client| async move {
        client.goto(&page).await.unwrap();
        run(&client, r#"
            await fetch("/fetch", { method: "POST", body: "a=b" });
            await fetch(new URL("/url", location), { method: "put", body: "x" });
            await fetch(new Request("/request", { method: "DELETE", headers: { x: "y" } }));
            const data = new FormData(); data.append("f", new File(["content"], "n.txt")); data.append("g", "h");
            await fetch("/data", { method: "POST", body: data });
            await fetch("/keep", { method: "POST", keepalive: true, body: "x" });
            await fetch("/silent", { method: "POST", mode: "no-cors", body: "x" });
            await fetch("/again", { method: "POST" }); await fetch("/again", { method: "POST" });
            await fetch("/get");
        "#).await;
        for path in ["/fetch", "/url", "/request", "/data", "/keep"] {
            let seen = site.seen(path).await;
            assert!(is_fresh(seen.header(), "page-p") && seen.query().is_none(), "{seen:?}");
        }
        assert_eq!(site.seen("/fetch").await.body, "a=b");
        assert_eq!(site.seen("/request").await.headers["x"], "y");
        let data = site.seen("/data").await.body;
        assert!(data.contains("filename=\"n.txt\"") && data.contains("content") && !data.contains(".vestibule"), "{data}");
        assert!(is_fresh(site.seen("/silent").await.query(), "page-p"));
        let again = site.all_seen("/again", 2).await;
        assert_ne!(again[0].header(), again[1].header());
        assert_eq!((site.seen("/get").await.header(), site.seen("/get").await.query()), (None, None));

        run(&client, r#"
            const send = (method, path, body, wait = true) => new Promise((done) => {
                const request = new XMLHttpRequest(); request.open(method, path, wait); request.setRequestHeader("x", "y");
                request.onloadend = done; request.send(body); });
            await send("POST", "/xhr", "a"); await send("GET", "/xhr-get"); await send("patch", "xhr-sync", "b", false);
            navigator.sendBeacon("/beacon?a=b", "x");
            const events = new EventSource("/events"); await new Promise((done) => { events.onmessage = done; });
            events.close();
        "#).await;
        for path in ["/xhr", "/xhr-sync"] {
            let seen = site.seen(path).await;
            assert!(is_fresh(seen.header(), "page-p") && seen.headers["x"] == "y", "{seen:?}");
        }
        assert_eq!(site.seen("/xhr-get").await.header(), None);
        let beacon = site.seen("/beacon").await;
        assert!(is_fresh(beacon.query(), "page-p") && beacon.target.starts_with("/beacon?a=b&"), "{beacon:?}");
        assert_eq!(site.seen("/events").await.query(), None);

        let sockets = run(&client, r#"
            const one = new WebSocket("ws://" + location.host + "/socket?a=b");
            await new Promise((done) => { one.onclose = done; });
            return [one.url.slice(5), one instanceof WebSocket, one.constructor === WebSocket];
        "#).await;
        let socket = site.seen("/socket").await;
        assert!(is_fresh(socket.query(), "page-p") && socket.target.starts_with("/socket?a=b&"), "{socket:?}");
        assert_eq!(sockets, json!([format!("{}/socket?a=b", &site.origin[7..]), true, true]));
        site.seen("/.vestibule/alive").await;

        let script = format!(r#"
            await fetch("{elsewhere}/far", {{ method: "POST", mode: "no-cors", body: "x" }});
            navigator.sendBeacon("{elsewhere}/far", "x");
            await new Promise((done) => {{ const request = new XMLHttpRequest(); request.open("POST", "{elsewhere}/far");
                request.onloadend = done; request.send("x"); }});
        "#);
        run(&client, &script).await;
        for far in other.all_seen("/far", 3).await {
            assert_eq!((far.header(), far.query()), (None, None), "{far:?}");
        }
    }).await;
}

#[tokio::test]
async fn what_scripts_can_see_is_as_ever() {
    let site = Site::start().await;
    let mut whole = body("<form method=post id=f><input name=a value=b></form>");
    whole.html =
        whole.html.replace("</form>", "</form><script>window.early = document.forms.f.elements.length;</script>");
    let page = site.page("/p", whole);
    in_browser(|client| async move {
        client.goto(&page).await.unwrap();
        let seen = run(&client, r#"
            class Own extends WebSocket {}
            const form = document.forms.f;
            return [fetch.length, fetch.name, /native code/.test(fetch), open.length, XMLHttpRequest.prototype.open.length,
                WebSocket.CLOSED, EventSource.name, Own.prototype instanceof WebSocket, window.early, form.elements.length,
                [...new FormData(form).keys()], document.scripts.length, document.head.firstElementChild.localName,
                Object.keys(window).includes("vestibule"), Object.getOwnPropertyDescriptor(window, "fetch").writable];
        "#).await;
        let expected = json!([1, "fetch", true, 0, 2, 3, "EventSource", true, 1, 1, ["a"], 1, "meta", false, true]);
        assert_eq!(seen, expected);
        let failures = run(&client, r#"
            const told = [];
            for (const call of [() => fetch("http://["), () => fetch("/", { method: "POST", headers: { "\n": "" } }), () => fetch()])
                await call().catch((error) => told.push(error.name));
            try { new WebSocket("nonsense:x"); } catch (error) { told.push(error.name); }
            try { WebSocket("/x"); } catch (error) { told.push(error.name); }
            try { navigator.sendBeacon(); } catch (error) { told.push(error.name); }
            const stop = new AbortController(); stop.abort();
            await fetch("/x", { method: "POST", signal: stop.signal }).catch((error) => told.push(error.name));
            return told;
        "#).await;
        let expected = json!(["TypeError", "TypeError", "TypeError", "SyntaxError", "TypeError", "TypeError", "AbortError"]);
        assert_eq!(failures, expected);
    }).await;
}
