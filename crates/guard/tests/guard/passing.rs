//! What goes back: pages rewritten, everything else as it came.

use crate::application::{DATA, FRAGMENT, PAGE, XHTML, gunzip};
use crate::world::World;
use hyper::Method;

#[tokio::test]
async fn a_page_gets_token_and_script_and_loses_its_validators() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let page = browser.page("/page").await;
    let text = page.text();
    assert_eq!(text.matches("name=\".vestibule\"").count(), 1, "in the form of its own alone: {text}");
    assert_eq!(text.matches("/.vestibule/guard.js").count(), 1);
    assert!(text.find("/.vestibule/guard.js") < text.find("<title>"));
    for name in ["etag", "last-modified", "content-length"] {
        assert!(!page.headers.contains_key(name), "{name}");
    }
    assert_eq!(page.header("cache-control"), "private, no-cache");
    assert_eq!(page.header("set-cookie"), "app=1; Path=/", "the application's own");
    let (first, second) = (page.token(), browser.token("/page").await);
    assert_ne!(first, second, "every page its own");
}

#[tokio::test]
async fn a_page_asked_for_conditionally_comes_whole() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let request = browser.get("/page").header("if-none-match", "\"page\"").header("range", "bytes=0-9");
    assert!(browser.send(request, "").await.text().contains("name=\".vestibule\""));
    let seen = &world.app.seen()[0];
    assert!(!seen.headers.contains_key("if-none-match") && !seen.headers.contains_key("range"));
}

#[tokio::test]
async fn a_compressed_page_is_rewritten_and_compressed() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let page = browser.send(browser.get("/gzip").header("accept-encoding", "gzip, zz"), "").await;
    assert_eq!(page.header("content-encoding"), "gzip");
    let text = gunzip(&page.body).await;
    assert!(text.contains("name=\".vestibule\"") && text.contains("/.vestibule/guard.js"), "{text}");
    assert_eq!(world.app.seen()[0].headers["accept-encoding"], "gzip");
}

#[tokio::test]
async fn a_fragment_gets_fields_and_no_script() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let fragment = browser.send(browser.read("/fragment", "same-origin", "cors", "empty"), "").await;
    let text = fragment.text();
    assert!(!text.contains("guard.js") && !text.contains("<script") && !text.contains("<meta"), "{text}");
    let field =
        format!("<input type=\"hidden\" name=\".vestibule\" value=\"{}\" autocomplete=\"off\"/>", fragment.token());
    assert_eq!(text.replace(&field, ""), FRAGMENT);
    assert_eq!(browser.order("/orders", &fragment.token(), "a=1").await.status, 200);
}

#[tokio::test]
async fn a_page_of_xml_is_rewritten_as_xml() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let page = browser.page("/xhtml").await;
    assert_eq!(
        (page.header("content-type"), page.header("cache-control")),
        ("application/xhtml+xml", "private, no-cache")
    );
    let text = page.text();
    let token = page.token();
    let field = format!("<input type=\"hidden\" name=\".vestibule\" value=\"{token}\" autocomplete=\"off\"/>");
    let script = text.find("<script src=\"/.vestibule/guard.js").expect("the script");
    let ends = script + text[script..].find("</script>").unwrap() + "</script>".len();
    assert!(text[..script].ends_with("<head>"), "{text}");
    assert_eq!(format!("{}{}", &text[..script], &text[ends..]).replace(&field, ""), XHTML);
    assert_eq!(browser.order("/orders", &token, "a=1").await.status, 200);
}

#[tokio::test]
async fn data_passes_byte_for_byte() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let read = |target| browser.read(target, "same-origin", "cors", "empty");
    let data = browser.send(read("/data.json"), "").await;
    assert_eq!((data.text().as_str(), data.header("etag")), (DATA, "\"v1\""));
    assert_eq!(data.header("content-length"), DATA.len().to_string());
    let unchanged = browser.send(read("/data.json").header("if-none-match", "\"v1\""), "").await;
    assert_eq!((unchanged.status, unchanged.header("etag"), unchanged.body.len()), (304, "\"v1\"", 0));
    let part = browser.send(read("/file").header("range", "bytes=0-9"), "").await;
    assert_eq!((part.status, part.text().as_str()), (206, "<form meth"));
    assert_eq!((part.header("content-range"), part.header("content-length")), ("bytes 0-9/100", "10"));
    let nothing = browser.send(read("/nothing"), "").await;
    assert_eq!((nothing.status, nothing.body.len()), (204, 0));
    let file = browser.send(read("/file"), "").await;
    assert_eq!(file.text(), PAGE, "a download that looks like a page");
    assert_eq!(file.header("cache-control"), "");
}

#[tokio::test]
async fn a_head_of_a_page_and_of_data() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let head =
        |target| browser.bare(Method::HEAD, target).header("sec-fetch-site", "none").header("accept", "text/html");
    let page = browser.send(head("/page"), "").await;
    assert_eq!((page.status, page.body.len(), page.header("cache-control")), (200, 0, "private, no-cache"));
    assert!(!page.headers.contains_key("etag") && !page.headers.contains_key("content-length"));
    let data = browser.send(head("/data.json"), "").await;
    assert_eq!((data.status, data.header("etag")), (200, "\"v1\""));
    assert_eq!(data.header("content-length"), DATA.len().to_string());
}

#[tokio::test]
async fn the_answer_to_a_command_is_a_page_too() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let done = browser.order("/orders", &browser.token("/page").await, "a=1").await;
    assert_eq!(browser.order("/orders", &done.token(), "a=1").await.said(), (200, ""));
    assert_eq!(world.app.commands(), 2);
}

#[tokio::test]
async fn refusals_are_read_by_whom_they_are_for() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    browser.page("/").await;
    let page = browser.send(browser.post("/orders").header("accept-language", "ja"), "a=1").await;
    assert_eq!(page.said(), (403, "no-page"));
    assert!(page.text().contains("<html lang=\"ja\">"));
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    let script = browser.send(browser.call(Method::POST, "/api/x", None), "{}").await;
    let problem: serde_json::Value = serde_json::from_slice(&script.body).unwrap();
    assert_eq!((problem["status"].as_u64(), script.header("content-type")), (Some(403), "application/problem+json"));
}
