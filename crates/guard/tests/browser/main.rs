//! The guard in a real Chromium: what its script sends, what its pages look like, and what other sites can make a browser do.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod attacks;
mod entry;
mod forms;
mod house;
mod pages;
mod policies;
mod senders;
mod site;
mod strict;
mod workers;

use site::Page;

/// A page with this body.
fn body(html: &str) -> Page {
    let html =
        format!("<!doctype html><html><head><meta charset=utf-8><title>page</title></head><body>{html}</body></html>");
    Page { html, ..Page::default() }
}

/// Whether a token is that of the page, with the name of an action of the script's own.
fn is_fresh(token: Option<&str>, page: &str) -> bool {
    let action = token.and_then(|token| token.strip_prefix(page)?.strip_prefix('.'));
    action.is_some_and(|action| {
        action.len() == 16 && action.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    })
}
