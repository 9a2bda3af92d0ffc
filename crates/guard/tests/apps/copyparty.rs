//! copyparty: uploads in parts that a script sends side by side, pages under a policy with a nonce, ranges, and WebDAV.

use crate::app::PASSWORD;
use crate::front::By;
use crate::way::{Desk, tried};
use std::fmt::Write;
use vestibule_guard::ModeConfig;

#[tokio::test(flavor = "multi_thread")]
async fn copyparty() {
    tried("copyparty", ModeConfig::Standard, By::Tunnel, keep_files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copyparty_strict() {
    tried("copyparty", ModeConfig::Strict, By::Tunnel, keep_files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copyparty_strict_by_password() {
    tried("copyparty", ModeConfig::Strict, By::Password, keep_files).await;
}

const FOLDER: &str = "/letters/";
/// The lines of a file that is sent in several parts.
const LINES: usize = 200_000;

async fn keep_files(desk: &Desk) {
    log_in(desk).await;
    make_folder(desk, "letters").await;
    upload(desk).await;
    read_in_parts(desk).await;
    write_and_edit(desk).await;
    submit_twice(desk).await;
    download(desk).await;
    rename(desk, "letter.txt", "post.txt").await;
    delete(desk, "post.txt").await;
    go_back(desk).await;
    work_in_two_tabs(desk).await;
    by_webdav(desk).await;
    desk.open("/").await;
    desk.browser.click("#blogout").await;
    desk.browser.until("/you're not logged in/.test(document.body.innerText)").await;
}

async fn log_in(desk: &Desk) {
    let browser = &desk.browser;
    desk.open("/?h").await;
    browser.fill("#lp", PASSWORD).await;
    browser.click("#ls").await;
    browser.until("!document.querySelector('#lp') && document.querySelector('#opa_mkd')").await;
}

async fn make_folder(desk: &Desk, name: &str) {
    let browser = &desk.browser;
    if browser.run("return !document.querySelector('#op_mkdir.act')").await == true {
        browser.click("#opa_mkd").await;
    }
    browser.fill("#op_mkdir input[name=name]", name).await;
    browser.click("#op_mkdir input[type=submit]").await;
    browser.until(&format!("location.pathname.endsWith('/{name}/')")).await;
}

/// Two files with the script that sends them in parts, several at once.
async fn upload(desk: &Desk) {
    let browser = &desk.browser;
    let mut large = String::new();
    for line in 0..LINES {
        writeln!(large, "line {line} of a long letter").unwrap();
    }
    for (name, content) in [("letter.txt", "what was uploaded"), ("large.txt", &large)] {
        browser.choose("#file1", &desk.file(name, content)).await;
        browser.click("#modal-ok").await;
        listed(desk, name).await;
    }
    let same = "let lines = ''; for (let line = 0; line < LINES; line++) lines += `line ${line} of a long letter\\n`;
        return await (await fetch('/letters/large.txt')).text() === lines";
    assert_eq!(browser.run(&same.replace("LINES", &LINES.to_string())).await, true);
}

async fn read_in_parts(desk: &Desk) {
    let part = "const answer = await fetch('/letters/letter.txt', { headers: { Range: 'bytes=5-7' } });
        return answer.status + ' ' + answer.headers.get('content-range') + ' ' + await answer.text()";
    assert_eq!(desk.browser.run(part).await, "206 bytes 5-7/17 was");
    let known = "const first = await fetch('/letters/letter.txt'), validator = first.headers.get('last-modified');
        const headers = { 'If-Modified-Since': validator };
        return (await fetch('/letters/letter.txt', { headers, cache: 'no-store' })).status";
    assert_eq!(desk.browser.run(known).await, 304);
}

/// A new document by a form, and its text by the editor's script, which reads it again to be sure.
async fn write_and_edit(desk: &Desk) {
    let browser = &desk.browser;
    browser.click("#opa_md").await;
    browser.fill("#op_new_md input[name=name]", "notes.md").await;
    browser.click("#op_new_md input[type=submit]").await;
    for text in ["A note with äöü.", "Another note."] {
        browser.until("location.search === '?edit' && document.querySelector('#save')").await;
        browser.fill("#mt", text).await;
        browser.click("#save").await;
        browser.until("/save OK/.test(document.querySelector('#toast').innerText)").await;
        desk.open("/letters/notes.md?edit").await;
    }
    browser.until("document.querySelector('#mt').value === 'Another note.'").await;
    desk.open("/letters/notes.md?v").await;
    browser.until("/Another note/.test(document.querySelector('#mp').innerText)").await;
    desk.open(FOLDER).await;
    listed(desk, "notes.md").await;
}

/// Impatient clicks on a classic form.
async fn submit_twice(desk: &Desk) {
    let browser = &desk.browser;
    desk.open(FOLDER).await;
    browser.click("#opa_bup").await;
    browser.choose("#op_bup input[type=file]", &desk.file("twice.txt", "sent twice")).await;
    let impatient = "const form = document.querySelector('#op_bup form');
        form.requestSubmit(); await new Promise((done) => setTimeout(done, 5)); form.requestSubmit()";
    browser.run(&format!("setTimeout(async () => {{ {impatient} }})")).await;
    browser.until("/OK .. 10 bytes|already processed/i.test(document.body.innerText)").await;
    desk.told_or_done().await;
    desk.open(FOLDER).await;
    listed(desk, "twice.txt").await;
    let names = "[...document.querySelectorAll('#files td:nth-child(2) a')].map((one) => one.innerText)";
    let copies = browser.run(&format!("return {names}.filter((name) => name.startsWith('twice')).length")).await;
    assert!(copies == 1 || !desk.guarded, "a double click does it once, not {copies} times");
}

/// A link to a file that the browser keeps, and a folder in one.
async fn download(desk: &Desk) {
    let browser = &desk.browser;
    let link = "const link = document.createElement('a'); link.href = '/letters/letter.txt?dl'; link.download = '';
        document.body.append(link); link.click(); link.remove()";
    browser.run(link).await;
    assert_eq!(desk.kept("letter.txt").await, b"what was uploaded");
    pick(desk, "letter.txt").await;
    browser.click("#selzip").await;
    assert!(desk.kept(".zip").await.starts_with(b"PK"));
    pick(desk, "letter.txt").await;
}

async fn rename(desk: &Desk, from: &str, to: &str) {
    let browser = &desk.browser;
    pick(desk, from).await;
    browser.click("#fren").await;
    browser.fill("#rn_new_0", to).await;
    browser.click("#rn_apply").await;
    listed(desk, to).await;
}

async fn delete(desk: &Desk, name: &str) {
    let browser = &desk.browser;
    pick(desk, name).await;
    browser.click("#fdel").await;
    browser.until("/will be|delete/i.test(document.querySelector('#modal').innerText)").await;
    browser.click("#modal-ok").await;
    browser.until("/last chance/i.test(document.querySelector('#modal').innerText)").await;
    browser.click("#modal-ok").await;
    browser.until(&format!("!document.querySelector('#files').innerText.includes({name:?})")).await;
}

/// Folders are opened by a script that makes history; Back closes them again.
async fn go_back(desk: &Desk) {
    let browser = &desk.browser;
    make_folder(desk, "inner").await;
    browser.back().await.unwrap();
    listed(desk, "notes.md").await;
    browser.forward().await.unwrap();
    browser.until("location.pathname === '/letters/inner/'").await;
    browser.back().await.unwrap();
    listed(desk, "notes.md").await;
    delete(desk, "inner").await;
}

async fn work_in_two_tabs(desk: &Desk) {
    let browser = &desk.browser;
    desk.open(FOLDER).await;
    browser.new_tab().await;
    desk.open(FOLDER).await;
    make_folder(desk, "right").await;
    browser.tab(0).await;
    make_folder(desk, "left").await;
    browser.tab(1).await;
    browser.close_window().await.unwrap();
    browser.tab(0).await;
    desk.open(FOLDER).await;
    listed(desk, "right").await;
    listed(desk, "left").await;
}

/// Methods of its own, with an address in a header.
async fn by_webdav(desk: &Desk) {
    let calls = [
        ("'/letters/put.txt', { method: 'PUT', body: 'put there' }", 201),
        ("'/letters/in', { method: 'MKCOL' }", 201),
        ("'/letters/put.txt', { method: 'MOVE', headers: { Destination: origin + '/letters/in/moved.txt' } }", 201),
        ("'/letters/in/', { method: 'PROPFIND', headers: { Depth: '1' } }", 207),
        ("'/letters/in/moved.txt'", 200),
        ("'/letters/in/moved.txt', { method: 'DELETE' }", 200),
        ("'/letters/in/', { method: 'OPTIONS' }", 200),
    ];
    for (call, status) in calls {
        assert_eq!(desk.browser.run(&format!("return (await fetch({call})).status")).await, status, "{call}");
    }
    let gone = "return (await (await fetch('/letters/in/?ls')).json()).files.length";
    assert_eq!(desk.browser.run(gone).await, 0);
}

/// Selects an entry of the list, or no longer.
async fn pick(desk: &Desk, name: &str) {
    listed(desk, name).await;
    let row =
        format!("[...document.querySelectorAll('#files tbody tr')].find((row) => row.innerText.includes({name:?}))");
    desk.browser.run(&format!("{row}.querySelector('td:nth-child(3)').click()")).await;
}

async fn listed(desk: &Desk, name: &str) {
    let entries = "[...document.querySelectorAll('#files td:nth-child(2) a')]";
    desk.browser.until(&format!("{entries}.some((one) => one.innerText.replace('/', '') === {name:?})")).await;
}
