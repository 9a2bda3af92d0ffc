//! A request that asks to be read as one of another method may do no more than that method.

use crate::world::{Browser, World};
use hyper::Method;
use serde_json::json;

fn rules() -> serde_json::Value {
    json!({ "rules": [
        { "who": "everyone", "methods": "reads", "paths": ["/**"] },
        { "who": "everyone", "methods": "POST PUT", "paths": ["/api/**", "/orders/**"] },
    ]})
}

async fn said(browser: &Browser, token: &str, field: Option<(&str, &str)>, target: &str) -> (u16, String) {
    let mut request = browser.call(Method::POST, target, Some(token));
    if let Some((name, value)) = field {
        request = request.header(name, value);
    }
    let answer = browser.send(request, "{}").await;
    (answer.status, answer.word().to_owned())
}

#[tokio::test]
async fn headers_that_name_another_method() {
    let world = World::with(rules()).await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let plain = token.split('.').next().unwrap();
    let refused = (403, "not-permitted".to_owned());
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        for method in ["DELETE", "delete", "Patch"] {
            assert_eq!(said(&browser, &token, Some((name, method)), "/api/orders/7").await, refused, "{name} {method}");
        }
        let put = said(&browser, &format!("{plain}.{name:.16}"), Some((name, "PUT")), "/api/orders/7").await;
        assert_eq!(put, (200, String::new()), "{name}: granted");
    }
    assert_eq!(world.app.commands(), 3);
    // A read that asks to be read as a command is one: without a page it isn't even looked at.
    let read = browser.read("/api/orders/7", "same-origin", "cors", "empty").header("x-http-method-override", "PUT");
    assert_eq!(browser.send(read, "").await.said(), (403, "no-page"));
}

#[tokio::test]
async fn fields_that_name_another_method() {
    let world = World::with(rules()).await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let refused = (403, "not-permitted".to_owned());
    assert_eq!(said(&browser, &token, None, "/api/orders/7?_method=DELETE").await, refused);
    for body in ["_method=DELETE", "a=1&%5fmethod=delete", "_method=PUT&_method=DELETE", ".method=DELETE"] {
        assert_eq!(browser.order("/orders/7", &token, body).await.said(), (403, "not-permitted"), "{body}");
    }
    let upload = |method: &str, rest: usize| {
        let part = |name: &str, value: &str| {
            format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let rest = part("file", &"x".repeat(rest));
        format!("{}{}{rest}--B--\r\n", part(".vestibule", &token), part("_method", method))
    };
    // Large ones, too, which are not read whole.
    for rest in [10, 600_000] {
        let request = || {
            let mut request = browser.post("/orders/7");
            let kind = "multipart/form-data; boundary=B".parse().unwrap();
            request.headers_mut().unwrap().insert("content-type", kind);
            request
        };
        assert_eq!(browser.send(request(), upload("DELETE", rest)).await.said(), (403, "not-permitted"), "{rest}");
        assert_eq!(browser.send(request(), upload("PUT", rest)).await.said(), (200, ""), "{rest}");
    }
    let json = browser.call(Method::POST, "/api/orders/7", Some(&token));
    assert_eq!(browser.send(json, r#"{"_method":"DELETE"}"#).await.said(), (403, "not-permitted"));
    assert_eq!(world.app.commands(), 2);
    assert_eq!(world.audit().iter().filter(|line| line.starts_with("refused:not-permitted POST")).count(), 8);
}

#[tokio::test]
async fn a_form_that_was_kept_names_no_other_method_either() {
    let world = World::with(rules()).await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    browser.sign_off().await;
    let page = browser.order("/orders/7", &token, "a=1&_method=DELETE").await;
    let offer = browser.press(&page.form("Sign in again")).await;
    assert_eq!(browser.press(&offer.form("Send it now")).await.said(), (403, "not-permitted"));
    assert_eq!(world.app.commands(), 0);
}
