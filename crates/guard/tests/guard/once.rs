//! Every command at most once (T21).

use crate::world::{Browser, World};
use hyper::Method;
use serde_json::json;
use std::time::{Duration, Instant};

async fn script(browser: &Browser, target: &str, token: &str, body: &'static str) -> crate::world::Answer {
    browser.send(browser.call(Method::POST, target, Some(token)), body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_at_once_are_one() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let sent = (0..500).map(|_| {
        let (browser, token) = (browser.clone(), token.clone());
        tokio::spawn(async move { browser.order("/slow", &token, "article=Desk").await })
    });
    let (mut results, mut receipts) = (0, 0);
    for answer in sent.collect::<Vec<_>>() {
        let answer = answer.await.unwrap();
        match answer.said() {
            (200, "") => {
                assert!(answer.text().contains("done 1<"), "{}", answer.text());
                results += 1;
            }
            (409, "already-done") => {
                assert!(answer.text().contains("See the result"));
                receipts += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(results + receipts, 500);
    assert!(results >= 1);
    assert_eq!(world.app.commands(), 1);
    let audit = world.audit();
    assert_eq!(audit.iter().filter(|line| line.starts_with("done ")).count(), 1);
    // The others of this minute follow as their number.
    assert_eq!(audit.iter().filter(|line| line.starts_with("repeated ")).count(), 20);
}

#[tokio::test]
async fn a_double_click_whose_first_connection_is_dropped() {
    let world = World::new().await;
    // Whenever the browser drops the first: at once, while it is written down, while the application works.
    for (nth, pause) in [0_u64, 1, 2, 5, 20, 100].into_iter().enumerate() {
        let browser = world.tunnel("alice", 1);
        let token = browser.token("/page").await;
        let first = tokio::spawn({
            let (browser, token) = (browser.clone(), token.clone());
            async move { browser.order("/slow", &token, "article=Desk").await }
        });
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let second = tokio::spawn({
            let (browser, token) = (browser.clone(), token.clone());
            async move { browser.order("/slow", &token, "article=Desk").await }
        });
        tokio::time::sleep(Duration::from_micros(300)).await;
        first.abort();
        let answer = second.await.unwrap();
        assert_eq!(answer.said(), (200, ""), "dropped after {pause} ms: {}", answer.text());
        assert_eq!(world.app.commands(), nth + 1, "dropped after {pause} ms");
    }
}

#[tokio::test]
async fn a_double_click_whose_first_connection_is_dropped_while_it_is_written_down() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    for nth in 0..60 {
        let token = browser.token("/page").await;
        let click = || {
            let (browser, token) = (browser.clone(), token.clone());
            tokio::spawn(async move { browser.order("/orders", &token, "article=Desk").await })
        };
        let (first, second) = (click(), click());
        let until = Instant::now() + Duration::from_micros(50 * nth);
        while Instant::now() < until {
            tokio::task::yield_now().await;
        }
        first.abort();
        assert_eq!(second.await.unwrap().said(), (200, ""), "dropped after {} µs", 50 * nth);
    }
    assert_eq!(world.app.commands(), 60);
}

#[tokio::test]
async fn a_single_click_whose_connection_is_dropped_is_carried_out() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let sent = tokio::spawn({
        let (browser, token) = (browser.clone(), token.clone());
        async move { browser.order("/slow", &token, "article=Desk").await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    sent.abort();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let receipt = browser.order("/slow", &token, "article=Desk").await;
    assert_eq!(receipt.said(), (409, "already-done"));
    let result = browser.press(&receipt.form("See the result")).await;
    assert!(result.text().contains("done 1<"));
    assert_eq!(world.app.commands(), 1);
    assert_eq!(world.audit()[0], "done POST /slow 200");
}

#[tokio::test]
async fn a_repeat_gets_a_receipt_whose_buttons_work() {
    let world = World::new().await;
    for browser in [world.tunnel("alice", 1), world.signed_in("bob").await] {
        let before = world.app.commands();
        let token = browser.token("/page").await;
        assert_eq!(browser.order("/orders", &token, "article=Desk").await.status, 200);
        let receipt = browser.order("/orders", &token, "article=Desk").await;
        assert_eq!(receipt.said(), (409, "already-done"));
        assert!(receipt.text().contains("Carried out at"));
        assert_eq!(receipt.header("cache-control"), "no-store");
        assert_eq!(world.app.commands(), before + 1);
        for _ in 0..2 {
            let result = browser.press(&receipt.form("See the result")).await;
            assert_eq!(result.status, 200);
            assert!(result.text().contains(&format!("done {}<", before + 1)), "{}", result.text());
            assert_ne!(result.token(), token, "it is a page of its own");
        }
        assert_eq!(world.app.commands(), before + 1);
        let again = receipt.form("Do it again");
        let done = browser.press(&again).await;
        assert_eq!(done.said(), (200, ""));
        assert_eq!(world.app.commands(), before + 2);
        assert_eq!(world.app.at("/orders").last().unwrap().body, "article=Desk");
        // The button is a form like any other: pressed twice it is one command.
        assert_eq!(browser.press(&again).await.said(), (409, "already-done"));
        assert_eq!(world.app.commands(), before + 2);
    }
}

#[tokio::test]
async fn nobody_else_presses_a_receipts_buttons() {
    let world = World::new().await;
    let (alice, bob) = (world.tunnel("alice", 1), world.tunnel("bob", 2));
    let token = alice.token("/page").await;
    alice.order("/orders", &token, "article=Desk").await;
    let receipt = alice.order("/orders", &token, "article=Desk").await;
    let bobs = bob.token("/page").await;
    for button in ["See the result", "Do it again"] {
        let mut form = receipt.form(button);
        assert_eq!(bob.press(&form).await.said(), (403, "other-session"));
        form.fields[0].1.clone_from(&bobs);
        assert_eq!(bob.press(&form).await.said(), (403, "expired-page"));
        // Nor is it sent anywhere else than it was meant for.
        form.fields[0].1 = alice.token("/page").await;
        form.action = "/elsewhere".to_owned();
        assert_eq!(alice.press(&form).await.said(), (403, "expired-page"));
    }
    assert_eq!(world.app.commands(), 1);
}

#[tokio::test]
async fn a_script_gets_the_first_answer_marked() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let plain = token.split('.').next().unwrap();
    let first = script(&browser, "/api/orders", &format!("{plain}.aaaaaaaaaaaaaaaa"), "{}").await;
    assert_eq!((first.status, first.text().as_str(), first.header("vestibule-repeated")), (200, "{\"done\":1}", ""));
    let repeat = script(&browser, "/api/orders", &format!("{plain}.aaaaaaaaaaaaaaaa"), "{}").await;
    assert_eq!((repeat.status, repeat.text().as_str()), (200, "{\"done\":1}"));
    assert!(repeat.header("vestibule-repeated").parse::<u64>().is_ok());
    assert_eq!(repeat.header("content-type"), "application/json");
    // A call of its own is a command of its own.
    let other = script(&browser, "/api/orders", &format!("{plain}.bbbbbbbbbbbbbbbb"), "{}").await;
    assert_eq!(other.text(), "{\"done\":2}");
}

#[tokio::test]
async fn a_script_is_refused_where_the_answer_was_too_large_to_keep() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    let first = script(&browser, "/much", &token, "{}").await;
    assert_eq!((first.status, first.body.len()), (200, 400 << 10));
    let repeat = script(&browser, "/much", &token, "{}").await;
    assert_eq!(repeat.said(), (409, "already-done"));
    assert_eq!(repeat.header("content-type"), "application/problem+json");
    assert_eq!(world.app.commands(), 1);
    // A person who repeats it is not offered a result that isn't there.
    let token = browser.token("/page").await;
    browser.order("/much", &token, "a=1").await;
    let receipt = browser.order("/much", &token, "a=1").await;
    assert_eq!(receipt.forms().iter().map(|form| form.button.as_str()).collect::<Vec<_>>(), ["Do it again"]);
}

#[tokio::test]
async fn the_same_form_with_another_content_is_another_command() {
    let world = World::new().await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    for body in ["article=Desk", "article=Chair", "article=Desk&n=2"] {
        assert_eq!(browser.order("/orders", &token, body).await.said(), (200, ""));
        assert_eq!(browser.order("/orders", &token, body).await.said(), (409, "already-done"));
    }
    assert_eq!(browser.order("/orders?x=1", &token, "article=Desk").await.said(), (200, ""));
    let other = token.replace(".f0", ".f1");
    assert_eq!(browser.order("/orders", &other, "article=Desk").await.said(), (200, ""));
    assert_eq!(world.app.commands(), 5);
}

#[tokio::test]
async fn one_command_per_form_where_the_owner_asks_for_it() {
    let world = World::with(json!({ "once": "form" })).await;
    let browser = world.tunnel("alice", 1);
    let token = browser.token("/page").await;
    assert_eq!(browser.order("/orders", &token, "article=Desk").await.status, 200);
    let receipt = browser.order("/orders", &token, "article=Chair").await;
    assert_eq!(receipt.said(), (409, "already-done"));
    assert_eq!(world.app.commands(), 1);
    // Who means it does the second thing, not the first once more.
    assert_eq!(browser.press(&receipt.form("Do it again")).await.status, 200);
    assert_eq!(world.app.at("/orders")[1].body, "article=Chair");
}

#[tokio::test]
async fn a_get_that_is_a_command() {
    let world = World::with(json!({ "commands": ["/delete"] })).await;
    let browser = world.tunnel("alice", 1);
    assert_eq!(browser.page("/delete?id=1").await.said(), (403, "no-page"));
    let link = browser.send(browser.read("/delete?id=1", "cross-site", "navigate", "document"), "").await;
    assert_eq!(link.said(), (403, "cross-site"));
    let token = browser.token("/page").await;
    let target = format!("/delete?id=1&.vestibule={token}");
    let clicked = || browser.read(&target, "same-origin", "navigate", "document").header("accept", "text/html");
    assert!(browser.send(clicked(), "").await.text().contains("done 1<"));
    let receipt = browser.send(clicked(), "").await;
    assert_eq!(receipt.said(), (409, "already-done"));
    assert_eq!(world.app.at("/delete").len(), 1);
    assert!(browser.press(&receipt.form("See the result")).await.text().contains("done 1<"));
    assert_eq!(world.app.at("/delete").len(), 1);
    let text = receipt.text();
    let again = text.split("href=\"").find(|rest| rest.contains(">Do it again<")).expect("a link to do it again");
    let again = again.split('"').next().unwrap().replace("&#38;", "&");
    assert!(
        browser.send(browser.read(&again, "same-origin", "navigate", "document"), "").await.text().contains("done 2<")
    );
    assert_eq!(
        world.app.at("/delete").iter().map(|seen| seen.target.as_str()).collect::<Vec<_>>(),
        ["/delete?id=1"; 2]
    );
    let audit = world.audit();
    assert_eq!(audit.iter().filter(|line| line.starts_with("refused:no-page GET /delete")).count(), 1, "{audit:?}");
    assert_eq!(audit.iter().filter(|line| *line == "done GET /delete 200").count(), 2, "{audit:?}");
}

#[tokio::test]
async fn after_a_restart() {
    let world = World::new().await;
    let mut browser = world.signed_in("alice").await;
    let (done, token) = (browser.token("/page").await, browser.token("/page").await);
    assert_eq!(browser.order("/orders", &done, "article=Desk").await.status, 200);
    let cookie = browser.cookie.take();
    let world = world.restarted().await;
    let mut browser = world.stranger();
    browser.cookie = cookie;
    let receipt = browser.order("/orders", &done, "article=Desk").await;
    assert_eq!(receipt.said(), (409, "already-done"));
    assert!(browser.press(&receipt.form("See the result")).await.text().contains("done 1<"));
    assert_eq!(browser.order("/orders", &token, "article=Chair").await.status, 200);
    assert_eq!(world.app.commands(), 2);
    // Pages of after the restart are none of before it.
    assert_eq!(browser.order("/orders", &browser.token("/page").await, "article=Desk").await.status, 200);
}
