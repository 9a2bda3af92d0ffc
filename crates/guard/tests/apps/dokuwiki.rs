//! DokuWiki: classic forms of an application that knows its users by a cookie and its forms by a field, and an uploader of its own.

use crate::app::{PASSWORD, USER};
use crate::front::By;
use crate::way::{Desk, tried};
use vestibule_guard::ModeConfig;

#[tokio::test(flavor = "multi_thread")]
async fn dokuwiki() {
    tried("dokuwiki", ModeConfig::Standard, By::Tunnel, write).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dokuwiki_strict() {
    tried("dokuwiki", ModeConfig::Strict, By::Tunnel, write).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dokuwiki_strict_by_password() {
    tried("dokuwiki", ModeConfig::Strict, By::Password, write).await;
}

const EDIT: &str = "/doku.php?id=letters&do=edit";
const TEXT: &str = "#wiki__text";
const SAVE: &str = "#edbtn__save";

async fn write(desk: &Desk) {
    let browser = &desk.browser;
    log_in(desk).await;
    desk.open(EDIT).await;
    browser.fill(TEXT, "A first letter with äöü.").await;
    browser.click("#edbtn__preview").await;
    browser.until("/A first letter with äöü/.test(document.querySelector('.preview').innerText)").await;
    saved(desk, "A first letter").await;
    // By way of the link, as it is meant to be done.
    browser.click("a[href*='do=edit']").await;
    browser.fill(TEXT, "The letter was changed.").await;
    saved(desk, "The letter was changed").await;
    if desk.guarded {
        save_again(desk).await;
    }
    work_in_two_tabs(desk).await;
    upload(desk).await;
    search(desk).await;
    // A page without text is none.
    desk.open(EDIT).await;
    browser.until(&format!("document.querySelector({TEXT:?})")).await;
    browser.run(&format!("document.querySelector({TEXT:?}).value = ''")).await;
    browser.click(SAVE).await;
    browser
        .until("/does not exist|removed/i.test(document.body.innerText) && !document.querySelector('#wiki__text')")
        .await;
    browser.click("a[href*='do=logout']").await;
    browser
        .until("!document.querySelector('a[href*=\"do=logout\"]') && document.querySelector('#dokuwiki__content')")
        .await;
}

async fn log_in(desk: &Desk) {
    desk.open("/doku.php?id=start&do=login").await;
    desk.browser.fill("input[name=u]", USER).await;
    desk.browser.fill("#dw__login input[name=p]", PASSWORD).await;
    desk.browser.click("#dw__login button").await;
    desk.browser.until("document.querySelector('a[href*=\"do=logout\"]')").await;
}

/// Back, and the same once more.
async fn save_again(desk: &Desk) {
    let browser = &desk.browser;
    let before = revisions(desk).await;
    desk.open(EDIT).await;
    browser.fill(TEXT, "Sent twice.").await;
    saved(desk, "Sent twice").await;
    desk.back().await;
    browser.until(&format!("document.querySelector({TEXT:?})")).await;
    browser.fill(TEXT, "Sent twice.").await;
    browser.click(SAVE).await;
    browser
        .until("/already|Sent twice/i.test(document.body.innerText) && !document.querySelector('#wiki__text')")
        .await;
    assert_eq!(revisions(desk).await, before + 1, "one effect");
}

async fn revisions(desk: &Desk) -> u64 {
    desk.open("/doku.php?id=letters&do=revisions").await;
    desk.browser.until("document.querySelector('#page__revisions')").await;
    let rows = "return document.querySelectorAll('#page__revisions li').length";
    desk.browser.run(rows).await.as_u64().unwrap()
}

async fn work_in_two_tabs(desk: &Desk) {
    let browser = &desk.browser;
    desk.open("/doku.php?id=left&do=edit").await;
    browser.new_tab().await;
    desk.open("/doku.php?id=right&do=edit").await;
    browser.fill(TEXT, "On the right.").await;
    browser.tab(0).await;
    browser.fill(TEXT, "On the left.").await;
    saved(desk, "On the left").await;
    browser.tab(1).await;
    saved(desk, "On the right").await;
    browser.close_window().await.unwrap();
    browser.tab(0).await;
}

/// With the uploader, which sends the file by itself, and down again.
async fn upload(desk: &Desk) {
    let browser = &desk.browser;
    desk.open("/doku.php?id=start&do=media&tab_files=upload").await;
    browser.choose("input[type=file]", &desk.file("letter.odt", "what was uploaded")).await;
    browser.click("#mediamanager__upload_button").await;
    browser.until("document.querySelector('.qq-upload-success, .success')").await;
    let file = browser.run("return (await fetch('/lib/exe/fetch.php?media=letter.odt')).text()").await;
    assert_eq!(file, "what was uploaded");
}

/// What is found while typing comes by a script's POST.
async fn search(desk: &Desk) {
    desk.open("/doku.php?id=start").await;
    desk.browser.fill("#qsearch__in", "right").await;
    desk.browser.until("/right/.test(document.querySelector('#qsearch__out').innerText)").await;
}

async fn saved(desk: &Desk, text: &str) {
    // Toolbar and preview come late and move the button away under a pointer.
    desk.browser.until("document.readyState === 'complete' && document.querySelector('#tool__bar button')").await;
    desk.browser.run(&format!("setTimeout(() => document.querySelector({SAVE:?}).click())")).await;
    let there = format!("document.querySelector('#dokuwiki__content').innerText.includes({text:?})");
    desk.browser.until(&format!("!document.querySelector({TEXT:?}) && {there}")).await;
}
