//! JupyterLab: a large application in one page, with a protection of its own against cross-site requests, files by `PUT`, and
//! WebSockets for kernels and terminals.

use crate::app::PASSWORD;
use crate::front::By;
use crate::way::{Desk, tried};
use vestibule_guard::ModeConfig;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: cargo xtask test --apps"]
async fn jupyter() {
    tried("jupyter", ModeConfig::Standard, By::Tunnel, compute).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: cargo xtask test --apps"]
async fn jupyter_strict() {
    tried("jupyter", ModeConfig::Strict, By::Tunnel, compute).await;
}

const LAUNCHER: &str = ".jp-LauncherCard[data-category=Notebook]";
/// A notebook alone, whatever was open before.
const NOTEBOOK: &str = "/lab/tree/sums.ipynb?reset";
const IDLE: &str = "/Idle/.test(document.querySelector('#jp-main-statusbar').innerText)";
const RUN: &str = ".jp-NotebookPanel:not(.lm-mod-hidden) [data-command='notebook:run-cell-and-select-next']";
const SAVE: &str = ".jp-NotebookPanel:not(.lm-mod-hidden) [data-command='docmanager:save']";
/// More than a part, so that it is sent in several.
const LARGE: usize = 3 << 20;

async fn compute(desk: &Desk) {
    desk.by_chance(BY_CHANCE);
    log_in(desk).await;
    run_a_cell(desk).await;
    save_under(desk, "sums.ipynb").await;
    upload(desk).await;
    edit(desk).await;
    download(desk).await;
    work_in_a_terminal(desk).await;
    rename(desk, "letter.txt", "post.txt").await;
    delete(desk, "post.txt").await;
    go_back(desk).await;
    work_in_two_tabs(desk).await;
    desk.open("/logout").await;
    desk.browser.until("/Successfully logged out/.test(document.body.innerText)").await;
}

/// While a file gets its name, JupyterLab's own listing of the folder may not find it any more; then it says so in a dialog, which a
/// person puts away.
const PUT_AWAY: &str = "new MutationObserver(() => {
        for (const dialog of document.querySelectorAll('.jp-Dialog'))
            if (/Directory not found/.test(dialog.innerText)) dialog.querySelector('.jp-Dialog-button').click();
    }).observe(document.body, { childList: true })";
/// What the console says by chance: of such a listing; of files that this scenario asks for before they are there, or are whole;
/// and of sockets, which a browser closes when it keeps a page for Back: JupyterLab may send by one before it has noticed.
const BY_CHANCE: &[&str] =
    &["/api/contents?content=", "Directory not found", "/files/", "WebSocket is already in CLOSING or CLOSED state"];

async fn log_in(desk: &Desk) {
    desk.open("/lab").await;
    desk.browser.fill("#password_input", PASSWORD).await;
    desk.browser.click("#login_submit").await;
    desk.browser.until(&format!("document.querySelector({LAUNCHER:?})")).await;
    desk.browser.run(PUT_AWAY).await;
}

/// What a kernel says comes by its socket: the same cell twice runs twice.
async fn run_a_cell(desk: &Desk) {
    let browser = &desk.browser;
    browser.click(LAUNCHER).await;
    browser.until(IDLE).await;
    browser.click(".jp-Notebook .cm-content").await;
    browser.type_into(".jp-Notebook .cm-content", "n = globals().get('n', 0) + 2; print('sum', n + 1)").await;
    for sum in ["sum 3", "sum 5"] {
        run_on(desk, sum).await;
    }
}

async fn save_under(desk: &Desk, name: &str) {
    let browser = &desk.browser;
    browser.click(SAVE).await;
    browser.fill(".jp-Dialog input", name).await;
    browser.click(".jp-Dialog .jp-mod-accept").await;
    listed(desk, name).await;
    // At once and again: the second finds the first's answer, or has nothing to do.
    browser.click(SAVE).await;
    browser.click(SAVE).await;
    // As a file: the interface for notebooks fails on one that is just being written.
    let saved = format!("(await (await fetch('/files/{name}', {{ cache: 'no-store' }})).text()).includes('sum 5')");
    browser.until(&saved).await;
    browser.until("!document.querySelector('.jp-Dialog')").await;
}

/// A small file in one call and a large one in several. No driver can answer the browser's own dialog for files: the field behind
/// it is brought to light.
async fn upload(desk: &Desk) {
    let browser = &desk.browser;
    let light = "const click = HTMLInputElement.prototype.click;
        HTMLInputElement.prototype.click = function () {
            if (this.type !== 'file') return click.call(this);
            this.id = 'chosen';
            this.value = '';
            document.body.append(this);
        }";
    browser.run(light).await;
    for (name, content) in [("letter.txt", "what was uploaded"), ("large.txt", &"x".repeat(LARGE))] {
        browser.click(".jp-FileBrowser-toolbar [data-jp-item-name=uploader] jp-button").await;
        browser.choose("#chosen", &desk.file(name, content)).await;
        browser.run("document.querySelector('#chosen').remove()").await;
        listed(desk, name).await;
        let whole = format!(
            "(await (await fetch('/files/{name}', {{ cache: 'no-store' }})).text()).length === {}",
            content.len()
        );
        browser.until(&whole).await;
    }
}

async fn edit(desk: &Desk) {
    let browser = &desk.browser;
    let open = "dispatchEvent(new MouseEvent('dblclick', { bubbles: true }))";
    browser.run(&format!("{}.{open}", item("letter.txt"))).await;
    browser.click(".jp-FileEditor .cm-content").await;
    browser.type_into(".jp-FileEditor .cm-content", " and changed").await;
    // Control and s.
    browser.type_into(".jp-FileEditor .cm-content", "\u{e009}s").await;
    browser.until("/changed/.test(await (await fetch('/files/letter.txt', { cache: 'no-store' })).text())").await;
}

async fn download(desk: &Desk) {
    choose(desk, "letter.txt", "filebrowser:download").await;
    let kept = String::from_utf8(desk.kept("letter.txt").await).unwrap();
    assert!(kept.contains("what was uploaded") && kept.contains("and changed"), "{kept}");
}

/// Another socket, by which keys go one by one.
async fn work_in_a_terminal(desk: &Desk) {
    let browser = &desk.browser;
    browser.click(".jp-FileBrowser-toolbar [data-jp-item-name=new-launcher] jp-button").await;
    browser.click(".jp-LauncherCard[title*=terminal]").await;
    let keys = ".jp-Terminal .xterm-helper-textarea";
    browser.until(&format!("document.querySelector({keys:?})")).await;
    // A shell that isn't ready yet loses what is typed.
    browser.until("(await (await fetch('/api/terminals')).json()).length === 1").await;
    browser.type_into(keys, "echo $((40 + 2)) > answer.txt\n").await;
    browser.until("(await (await fetch('/files/answer.txt', { cache: 'no-store' })).text()).trim() === '42'").await;
}

async fn rename(desk: &Desk, from: &str, to: &str) {
    choose(desk, from, "filebrowser:rename").await;
    // Whatever takes the focus from the field puts it away.
    let name = ".jp-DirListing-editor";
    desk.browser.until(&format!("document.querySelector({name:?}) && document.activeElement.matches({name:?})")).await;
    desk.browser.run(&format!("document.querySelector({name:?}).select()")).await;
    desk.browser.type_into(name, &format!("{to}\n")).await;
    listed(desk, to).await;
}

async fn delete(desk: &Desk, name: &str) {
    choose(desk, name, "filebrowser:delete").await;
    desk.browser.click(".jp-Dialog .jp-mod-accept").await;
    desk.browser.until(&format!("!{}", item(name))).await;
}

/// Away and Back: the page comes again, and its kernel with what it knows.
async fn go_back(desk: &Desk) {
    desk.open(NOTEBOOK).await;
    desk.browser.until(IDLE).await;
    desk.open("/api").await;
    desk.browser.back().await.unwrap();
    run_on(desk, "sum 7").await;
}

/// The same notebook in both, with one kernel.
async fn work_in_two_tabs(desk: &Desk) {
    let browser = &desk.browser;
    browser.new_tab().await;
    desk.open(NOTEBOOK).await;
    run_on(desk, "sum 9").await;
    browser.tab(0).await;
    run_on(desk, "sum 11").await;
    browser.tab(1).await;
    browser.close_window().await.unwrap();
    browser.tab(0).await;
}

/// Runs the notebook's first cell once more.
async fn run_on(desk: &Desk, sum: &str) {
    desk.browser.click(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-InputPrompt").await;
    desk.browser.click(RUN).await;
    printed(desk, sum).await;
}

/// Something of a file's menu.
async fn choose(desk: &Desk, name: &str, command: &str) {
    let (browser, item) = (&desk.browser, item(name));
    let press = |kinds: &str, button: u8| {
        format!(
            "const item = {item}, at = item.getBoundingClientRect(), target = item.querySelector('.jp-DirListing-itemText');
            for (const kind of {kinds})
                target.dispatchEvent(new MouseEvent(kind, {{ bubbles: true, cancelable: true, button: {button},
                    clientX: at.x + 5, clientY: at.y + 5 }}))"
        )
    };
    browser.run(&press("['mousedown', 'mouseup', 'click']", 0)).await;
    browser.run(&press("['contextmenu']", 2)).await;
    browser.click(&format!(".lm-Menu-item[data-command='{command}']")).await;
}

async fn printed(desk: &Desk, text: &str) {
    let outputs = "[...document.querySelectorAll('.jp-OutputArea-output')]";
    desk.browser.until(&format!("{outputs}.some((one) => one.innerText.trim() === {text:?})")).await;
}

async fn listed(desk: &Desk, name: &str) {
    desk.browser.until(&item(name)).await;
}

fn item(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('.jp-DirListing-item')].find((one) => one.querySelector('.jp-DirListing-itemText').innerText === {name:?})"
    )
}
