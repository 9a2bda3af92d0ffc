//! Rewriting of pages as they stream by (PAGEGUARD section 4): the guard's script goes in first, and every form that posts to the
//! application itself gets a hidden field with the page's token.
//!
//! Nothing that is there is changed or held back: the rewriter only finds the places where something of its own goes in, so that
//! its memory does not depend on the size of the page or of anything in it. It reads HTML as browsers do (WHATWG HTML, section
//! 13.2.5), and only as closely as those places need. One that builds a tree, or matches selectors, costs ten times as much.

mod insertion;
mod origin;
mod page;
mod passing;
mod scanner;
mod stream;
mod tag;
#[cfg(test)]
mod tests;

pub use insertion::ScriptTag;
pub use stream::rewrite_body;

use page::Page;
use scanner::Scanner;

/// What goes into a page.
#[derive(Clone)]
pub struct Plan {
    /// The page's token as text.
    pub token: String,
    /// The guard's script; `None` where the application's policy can't be made to let it run, or scripts are unwanted.
    pub script: Option<ScriptTag>,
    /// Whether forms get their field.
    pub forms: bool,
    /// Whether this is a page of its own, which a browser navigated to. `false`: a fragment that a script fetched (htmx, Turbo),
    /// which gets fields and no second script.
    pub whole_page: bool,
    /// Where the page is, as a browser writes origins: `http://orders.localhost:8080`.
    pub own_origin: String,
    /// The path patterns of which reads bear the token too, as written in the application's settings; `/**` in strict mode.
    pub reads: Vec<String>,
    /// Whether the page is read as XML (`application/xhtml+xml`): there one insertion in a wrong place is an error page. The script
    /// goes into a `<head>` and nowhere else.
    pub xml: bool,
}

/// Rewrites one page. What it needs besides the [`Plan`] is at most 40 KiB, whatever comes; it can't fail.
pub struct PageRewriter {
    scanner: Scanner,
    /// The beginning of a tag before which the script may have to go: `<` and at most six bytes more.
    held: Vec<u8>,
}

impl PageRewriter {
    /// For one page.
    pub fn new(plan: &Plan) -> Self {
        Self::of(plan.clone())
    }

    pub(crate) fn of(plan: Plan) -> Self {
        Self { scanner: Scanner::new(Page::new(plan)), held: Vec::new() }
    }

    /// Takes the next piece and appends what can leave: all of it but for a few bytes before the script is in.
    pub fn write(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        if !self.passes(piece, out) {
            return;
        }
        out.extend_from_slice(piece);
    }

    /// The page has come to its end: appends what was held.
    pub fn end(mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }

    /// Scans a piece. Whether it can go on just as it is; otherwise `out` got what takes its place.
    fn passes(&mut self, piece: &[u8], out: &mut Vec<u8>) -> bool {
        let keep = self.scanner.feed(piece);
        if self.held.is_empty() && self.scanner.page.cuts.is_empty() && keep == piece.len() {
            return true;
        }
        let inserted: usize = self.scanner.page.cuts.iter().map(|cut| cut.text.len()).sum();
        out.reserve(self.held.len() + inserted + keep);
        let mut from = 0;
        for cut in self.scanner.page.cuts.drain(..) {
            if let Some(at) = cut.at {
                out.append(&mut self.held);
                out.extend_from_slice(&piece[from..at]);
                from = at;
            }
            out.extend_from_slice(cut.text.as_bytes());
        }
        if keep > 0 {
            out.append(&mut self.held);
        }
        out.extend_from_slice(&piece[from..keep]);
        self.held.extend_from_slice(&piece[keep..]);
        false
    }
}
