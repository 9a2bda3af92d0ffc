//! The keys that pages are sealed with turn; what was sealed before goes on until it is outdated.

use crate::world::{Browser, World};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};
use vestibule_guard::{KeyringSettings, store};

const LIFETIME: Duration = Duration::from_secs(4);

/// How many keys there are, and the number of the newest.
fn keys(world: &World) -> (i64, u32) {
    let store = store::open(&world.dir.path().join("guard/guard.sqlite")).unwrap();
    let count = |c: &rusqlite::Connection| -> Result<(i64, u32), vestibule_store::StoreError> {
        Ok(c.query_row("SELECT count(*), max(id) FROM page_key", [], |row| Ok((row.get(0)?, row.get(1)?)))?)
    };
    store.read(count).unwrap()
}

async fn again(world: World, browser: &mut Browser) -> World {
    let settings = KeyringSettings { rotate_every: Duration::from_millis(500), page_lifetime: LIFETIME };
    let world = world.restarted_with(|made| made.pages = settings).await;
    let cookie = browser.cookie.take();
    *browser = world.stranger();
    browser.cookie = cookie;
    world
}

#[tokio::test]
async fn a_page_of_an_older_key_works_until_it_is_outdated() {
    let world = World::new().await;
    let mut browser = world.signed_in("alice").await;
    let world = again(world, &mut browser).await;
    let (first, sealed) = (keys(&world), Instant::now());
    let old = browser.token("/page").await;
    sleep(Duration::from_millis(600)).await;
    let world = again(world, &mut browser).await;
    let second = keys(&world);
    assert!(second.0 >= 2 && second.1 > first.1, "{first:?} {second:?}: a fresh key beside the old one");
    assert_eq!(browser.order("/orders", &old, "a=1").await.said(), (200, ""), "a page of the old key");
    assert_eq!(browser.order("/orders", &old, "a=1").await.said(), (409, "already-done"), "its command is remembered");
    sleep_until(sealed + LIFETIME + Duration::from_millis(100)).await;
    assert_eq!(browser.order("/orders", &old, "a=2").await.said(), (403, "expired-page"));
    let fresh = browser.token("/page").await;
    assert_eq!(browser.order("/orders", &fresh, "a=2").await.said(), (200, ""));
    // Forgotten with its last page: then nothing of that key opens again.
    let world = again(world, &mut browser).await;
    sleep(Duration::from_millis(600)).await;
    let world = again(world, &mut browser).await;
    assert!(keys(&world).0 < 12, "bounded");
    assert_eq!(browser.order("/orders", &old, "a=3").await.said(), (403, "expired-page"));
    assert_eq!(browser.order("/orders", &fresh, "a=3").await.said(), (200, ""));
    assert_eq!(world.app.commands(), 3);
}
