//! Django's administration: classic forms with a protection of their own against cross-site requests, and uploads.

use crate::app::{PASSWORD, USER};
use crate::front::By;
use crate::way::{Desk, tried};
use vestibule_guard::ModeConfig;

#[tokio::test(flavor = "multi_thread")]
async fn django() {
    tried("django", ModeConfig::Standard, By::Tunnel, administer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn django_strict() {
    tried("django", ModeConfig::Strict, By::Tunnel, administer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn django_by_password() {
    tried("django", ModeConfig::Standard, By::Password, administer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn django_strict_by_password() {
    tried("django", ModeConfig::Strict, By::Password, administer).await;
}

const LIST: &str = "/admin/site_of_tests/document/";
const SAVE: &str = "input[name=_save]";

async fn administer(desk: &Desk) {
    let browser = &desk.browser;
    log_in(desk).await;
    create_with_a_file(desk).await;
    edit(desk).await;
    if desk.guarded {
        submit_twice(desk).await;
    }
    work_in_two_tabs(desk).await;
    delete(desk, "left").await;
    assert_eq!(titles(desk).await, if desk.guarded { "right twice second" } else { "right second" });
    browser.click("#logout-form button").await;
    browser.until("/Logged out/.test(document.body.innerText)").await;
}

async fn log_in(desk: &Desk) {
    desk.open("/admin/").await;
    desk.browser.fill("#id_username", USER).await;
    desk.browser.fill("#id_password", PASSWORD).await;
    desk.browser.click("input[type=submit]").await;
    desk.browser.until("location.pathname === '/admin/' && document.querySelector('#logout-form')").await;
}

async fn create_with_a_file(desk: &Desk) {
    let browser = &desk.browser;
    browser.click("a[href='/admin/site_of_tests/document/add/']").await;
    browser.fill("#id_title", "first").await;
    browser.fill("#id_body", "ein Text mit Ümläuten\nund zwei Zeilen").await;
    browser.choose("#id_file", &desk.file("letter.txt", "what was uploaded")).await;
    saved(desk).await;
    // Down again, as it was, and in parts.
    browser.click("th.field-__str__ a").await;
    browser.until("document.querySelector('.file-upload a')").await;
    assert_eq!(browser.run("return document.querySelector('#id_body').value.split('\\n').length").await, 2);
    let file = browser.run("return (await fetch(document.querySelector('.file-upload a').href)).text()").await;
    assert_eq!(file, "what was uploaded");
}

async fn edit(desk: &Desk) {
    desk.browser.fill("#id_title", "second").await;
    saved(desk).await;
    assert_eq!(titles(desk).await, "second");
}

/// Impatient clicks, and then Back and something else.
async fn submit_twice(desk: &Desk) {
    let browser = &desk.browser;
    desk.open(&format!("{LIST}add/")).await;
    browser.fill("#id_title", "twice").await;
    let impatient = "const form = document.querySelector('#document_form'), button = form.elements._save;
        form.requestSubmit(button); await new Promise((done) => setTimeout(done, 5)); form.requestSubmit(button);
        return true";
    browser.run(&format!("setTimeout(async () => {{ {impatient} }})")).await;
    // The second waits for the first's answer, or is told that it has been given.
    browser
        .until("document.querySelector('.messagelist .success') || /already processed/i.test(document.body.innerText)")
        .await;
    desk.told_or_done().await;
    desk.open(LIST).await;
    assert_eq!(titles(desk).await, "twice second", "a double click does it once");
    // Django has its pages fetched anew on Back: what is sent from there is another command, and goes through.
    desk.open(&format!("{LIST}add/")).await;
    browser.fill("#id_title", "before").await;
    saved(desk).await;
    delete(desk, "before").await;
    desk.open(&format!("{LIST}add/")).await;
    desk.open(LIST).await;
    desk.back().await;
    browser.fill("#id_title", "back").await;
    saved(desk).await;
    assert_eq!(titles(desk).await, "back twice second");
    delete(desk, "back").await;
}

async fn work_in_two_tabs(desk: &Desk) {
    let browser = &desk.browser;
    desk.open(&format!("{LIST}add/")).await;
    browser.new_tab().await;
    desk.open(&format!("{LIST}add/")).await;
    browser.fill("#id_title", "right").await;
    browser.tab(0).await;
    browser.fill("#id_title", "left").await;
    saved(desk).await;
    browser.tab(1).await;
    saved(desk).await;
    browser.close_window().await.unwrap();
    browser.tab(0).await;
    desk.open(LIST).await;
}

async fn delete(desk: &Desk, title: &str) {
    let browser = &desk.browser;
    let row =
        format!("[...document.querySelectorAll('#result_list tbody tr')].find((row) => /{title}/.test(row.innerText))");
    browser.run(&format!("{row}.querySelector('.action-select').click()")).await;
    browser.run("document.querySelector('select[name=action]').value = 'delete_selected'").await;
    browser.click("button[name=index]").await;
    browser.click("#content form input[type=submit]").await;
    browser.until("document.querySelector('.messagelist .success')").await;
}

async fn saved(desk: &Desk) {
    desk.browser.click(SAVE).await;
    desk.browser
        .until("document.querySelector('.messagelist .success') && document.querySelector('#result_list')")
        .await;
}

/// The titles of the list that is open, the newest first.
async fn titles(desk: &Desk) -> String {
    let titles = "return [...document.querySelectorAll('th.field-__str__')].map((one) => one.innerText).join(' ')";
    desk.browser.run(titles).await.as_str().unwrap().to_owned()
}
