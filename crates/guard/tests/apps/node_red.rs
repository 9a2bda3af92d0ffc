//! Node-RED: an editor that is one page, draws everything by scripts, deploys by one large POST, and hears by a WebSocket what
//! the flows say.

use crate::app::{PASSWORD, USER};
use crate::front::By;
use crate::way::{Desk, tried};
use serde_json::json;
use vestibule_guard::ModeConfig;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: cargo xtask test --apps"]
async fn node_red() {
    tried("nodered", ModeConfig::Standard, By::Tunnel, wire).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: cargo xtask test --apps"]
async fn node_red_strict() {
    tried("nodered", ModeConfig::Strict, By::Tunnel, wire).await;
}

const DEPLOY: &str = "#red-ui-header-button-deploy";

async fn wire(desk: &Desk) {
    let browser = &desk.browser;
    desk.open("/").await;
    log_in(desk).await;
    upload_a_flow(desk).await;
    deploy(desk).await;
    inject(desk, "a letter").await;
    ask_the_flow(desk).await;
    edit(desk).await;
    deploy_twice(desk).await;
    download(desk).await;
    go_back(desk).await;
    work_in_two_tabs(desk).await;
    delete(desk).await;
    browser.click("#red-ui-header-button-user").await;
    browser.click("#usermenu-item-logout").await;
    browser.until("document.querySelector('#node-dialog-login-password')").await;
}

async fn log_in(desk: &Desk) {
    desk.browser.fill("#node-dialog-login-username", USER).await;
    desk.browser.fill("#node-dialog-login-password", PASSWORD).await;
    desk.browser.click("#node-dialog-login-submit").await;
    ready(desk).await;
}

/// The editor stands, and its socket is open.
async fn ready(desk: &Desk) {
    let there = "document.querySelector('#red-ui-header-button-deploy') && document.querySelector('.red-ui-palette-node')
        && !document.querySelector('#red-ui-loading-progress:not(.hide)')?.offsetParent && RED.nodes.getWorkspaceOrder().length";
    desk.browser.until(there).await;
}

/// An inject node that tells a debug node, and an address that answers what it is sent.
async fn upload_a_flow(desk: &Desk) {
    let browser = &desk.browser;
    let flow = json!([
        { "id": "a1", "type": "inject", "z": "", "name": "go", "props": [{ "p": "payload" }], "payload": "a letter",
          "payloadType": "str", "repeat": "", "crontab": "", "once": false, "x": 150, "y": 100, "wires": [["a2"]] },
        { "id": "a2", "type": "debug", "z": "", "name": "seen", "active": true, "tosidebar": true, "complete": "payload",
          "targetType": "msg", "x": 350, "y": 100, "wires": [] },
        { "id": "b1", "type": "http in", "z": "", "name": "", "url": "/letters", "method": "post", "x": 150, "y": 200,
          "wires": [["b2"]] },
        { "id": "b2", "type": "http response", "z": "", "name": "", "x": 350, "y": 200, "wires": [] },
    ]);
    browser.click("#red-ui-header-button-sidemenu").await;
    browser.click("#menu-item-import").await;
    browser.choose("#red-ui-clipboard-dialog-import-file-upload", &desk.file("flow.json", &flow.to_string())).await;
    browser.until("document.querySelector('#red-ui-clipboard-dialog-import-text').value.includes('letters')").await;
    browser.click("#red-ui-clipboard-dialog-ok").await;
    // They hang at the mouse until they are put down.
    browser.until("RED.nodes.filterNodes({ type: 'http response' }).length === 1").await;
    browser.click("#red-ui-workspace-chart").await;
    browser.until("RED.nodes.dirty()").await;
}

async fn deploy(desk: &Desk) {
    desk.browser.until("RED.nodes.dirty() && !document.querySelector('#red-ui-header-button-deploy.disabled')").await;
    desk.browser.click(DEPLOY).await;
    desk.browser.until("!RED.nodes.dirty()").await;
}

/// What the flow says comes by the socket: as often as it was told to, although the call is the same each time.
async fn inject(desk: &Desk, text: &str) {
    let browser = &desk.browser;
    browser.run("RED.sidebar.show('debug')").await;
    browser.run("document.querySelector('#red-ui-sidebar-debug-clear, .red-ui-sidebar-debug-clear')?.click()").await;
    let before = browser.run("return document.querySelectorAll('.red-ui-debug-msg').length").await.as_u64().unwrap();
    let press = "const node = RED.nodes.filterNodes({ type: 'inject' })[0];
        const button = document.getElementById(node.id).querySelector('.red-ui-flow-node-button-button');
        button.dispatchEvent(new MouseEvent('click', { bubbles: true }))";
    for time in 1..=2 {
        browser.run(press).await;
        let said = "[...document.querySelectorAll('.red-ui-debug-msg')]";
        let all = format!("{said}.length === {} && {said}.at(-1).innerText.includes({text:?})", before + time);
        browser.until(&all).await;
    }
}

/// The flow's own address, for a page's script.
async fn ask_the_flow(desk: &Desk) {
    let ask = "const headers = { 'Content-Type': 'application/json' }, body = JSON.stringify({ text: 'äöü' });
        return await (await fetch('/letters', { method: 'POST', headers, body })).json()";
    assert_eq!(desk.browser.run(ask).await, json!({ "text": "äöü" }));
}

async fn edit(desk: &Desk) {
    let browser = &desk.browser;
    browser.run("RED.editor.edit(RED.nodes.filterNodes({ type: 'inject' })[0])").await;
    browser.until("document.querySelector('.node-input-prop-property-value')").await;
    browser.run("$('.node-input-prop-property-value').typedInput('value', 'another letter')").await;
    done(desk).await;
}

/// Closes the tray in which a node is edited; what stands behind it takes clicks when it has gone.
async fn done(desk: &Desk) {
    desk.browser.click("#node-dialog-ok").await;
    desk.browser.until("!document.querySelector('.red-ui-tray') && RED.nodes.dirty()").await;
}

/// Impatient clicks: the editor itself holds the second back.
async fn deploy_twice(desk: &Desk) {
    let browser = &desk.browser;
    browser.until("!document.querySelector('#red-ui-header-button-deploy.disabled')").await;
    browser
        .run("const button = document.querySelector('#red-ui-header-button-deploy'); button.click(); button.click()")
        .await;
    browser.until("!RED.nodes.dirty()").await;
    inject(desk, "another letter").await;
    browser
        .until("![...document.querySelectorAll('.red-ui-notification-error')].some((one) => one.offsetParent)")
        .await;
}

/// The flow, as a file; and as the runtime gives it.
async fn download(desk: &Desk) {
    let browser = &desk.browser;
    browser.click("#red-ui-header-button-sidemenu").await;
    browser.click("#menu-item-export").await;
    browser.click("#red-ui-clipboard-dialog-export-rng-full").await;
    browser.click("#red-ui-clipboard-dialog-download").await;
    let kept = desk.kept(".json").await;
    assert!(String::from_utf8(kept).unwrap().contains("another letter"));
    browser.until("!document.querySelector('#red-ui-clipboard-dialog')?.offsetParent").await;
}

/// Away and Back: the editor comes again with what was deployed.
async fn go_back(desk: &Desk) {
    desk.open("/red/images/node-red-256.svg").await;
    desk.browser.back().await.unwrap();
    ready(desk).await;
    desk.browser.until("RED.nodes.filterNodes({ type: 'inject' }).length === 1").await;
}

/// What is deployed in one is told to the other.
async fn work_in_two_tabs(desk: &Desk) {
    let browser = &desk.browser;
    browser.new_tab().await;
    desk.open("/").await;
    ready(desk).await;
    browser.run("RED.editor.edit(RED.nodes.filterNodes({ type: 'debug' })[0])").await;
    browser.fill("#node-input-name", "noticed").await;
    done(desk).await;
    deploy(desk).await;
    browser.tab(0).await;
    browser.until("[...document.querySelectorAll('.red-ui-notification')].some((one) => /updated|deployed/i.test(one.innerText))").await;
    browser.tab(1).await;
    browser.close_window().await.unwrap();
    browser.tab(0).await;
    browser.refresh().await.unwrap();
    ready(desk).await;
    browser.until("RED.nodes.filterNodes({ type: 'debug' })[0].name === 'noticed'").await;
}

async fn delete(desk: &Desk) {
    let browser = &desk.browser;
    let remove = "for (const type of ['inject', 'debug'])
        for (const node of RED.nodes.filterNodes({ type })) {
            RED.view.select({ nodes: [node] });
            RED.actions.invoke('core:delete-selection');
        }";
    browser.run(remove).await;
    deploy(desk).await;
    browser.refresh().await.unwrap();
    ready(desk).await;
    assert_eq!(browser.run("return RED.nodes.filterNodes({ type: 'inject' }).length").await, 0);
}
