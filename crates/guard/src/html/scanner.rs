//! The tokenizer (WHATWG HTML, section 13.2.5), as far as it takes to know where tags begin and end. It goes on over any split of
//! the page into pieces and keeps none of them.

use super::page::{Page, Then};
use super::passing;
use super::tag::{Tag, Word};
use memchr::{memchr, memchr2};

/// What a CDATA section begins with, after `<!`.
const CDATA: &[u8] = b"[CDATA[";

/// Reads the page, piece by piece.
pub(super) struct Scanner {
    pub(super) page: Page,
    state: State,
    tag: Tag,
    /// The name of the attribute being read, or what follows a `<` in text.
    word: Word,
    /// The last bytes of the comment, CDATA section or script being read.
    tail: Tail,
    /// How a script stands to `<!--` and `<script>` inside it.
    script: Script,
    /// The end of the text being read, as `/name`.
    ends_with: &'static [u8],
    /// Whether attributes of this tag are read.
    reads: bool,
    /// Where the tag begins before which the script may have to go: in this piece, or in one before.
    undecided: Option<Option<usize>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between tags.
    Text,
    /// After `<`.
    Open,
    /// After `</`.
    CloseOpen,
    /// After `<!` and so many bytes that fit `--` or `[CDATA[`.
    Declaration(usize, bool),
    /// In a doctype or what counts as a comment, up to `>`.
    Bogus,
    Comment,
    Cdata,
    Name,
    /// Before the name of an attribute.
    Gap,
    AttributeName,
    AfterName,
    BeforeValue,
    Quoted(u8),
    Bare,
    /// After a `/` inside a tag.
    Slash,
    /// In the text of a script, style, title and the like.
    Raw,
    /// After a `<` in there.
    RawWord,
    /// In plain text, which never ends.
    Plain,
}

/// The script data states: plain, escaped, double escaped (13.2.5.4 and following).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Plain,
    Escaped,
    Twice,
}

/// The last three bytes, and how many there were, four at most.
#[derive(Clone, Copy)]
struct Tail([u8; 3], usize);

impl Scanner {
    pub(super) fn new(page: Page) -> Self {
        Self {
            page,
            state: State::Text,
            tag: Tag::default(),
            word: Word::default(),
            tail: Tail([0; 3], 0),
            script: Script::Plain,
            ends_with: b"",
            reads: false,
            undecided: None,
        }
    }

    /// Reads a piece; what is to go in stands in the page's cuts. Returns from where on the piece must be held, because it isn't
    /// decided yet whether the script goes in before it.
    pub(super) fn feed(&mut self, piece: &[u8]) -> usize {
        let mut at = 0;
        while at < piece.len() && !self.page.unreadable {
            at = self.step(piece, at);
        }
        match &mut self.undecided {
            None => piece.len(),
            Some(start) => start.take().unwrap_or(0),
        }
    }

    fn step(&mut self, piece: &[u8], at: usize) -> usize {
        match self.state {
            State::Text => self.text(piece, at),
            State::Open => self.open(piece[at], at),
            State::CloseOpen => self.close_open(piece[at], at),
            State::Declaration(fits, dashes) => self.declaration(piece[at], at, fits, dashes),
            State::Bogus => self.skip_past(piece, at, b'>', State::Text),
            State::Comment => self.comment(piece, at),
            State::Cdata => self.cdata(piece, at),
            State::Name => self.name(piece, at),
            State::Gap => self.gap(piece, at),
            State::AttributeName => self.attribute_name(piece, at),
            State::AfterName => self.after_name(piece[at], at),
            State::BeforeValue => self.before_value(piece[at], at),
            State::Quoted(quote) => self.quoted(piece, at, quote),
            State::Bare => self.bare(piece, at),
            State::Slash => self.slash(piece[at], at),
            State::Raw => self.raw(piece, at),
            State::RawWord => self.raw_word(piece, at),
            State::Plain => piece.len(),
        }
    }

    fn text(&mut self, piece: &[u8], at: usize) -> usize {
        let at = if self.page.is_plain() { passed(piece, at) } else { at };
        let Some(found) = memchr(b'<', &piece[at..]) else {
            self.page.text(piece, at..piece.len());
            return piece.len();
        };
        self.page.text(piece, at..at + found);
        self.state = State::Open;
        self.undecided = self.page.waits().then_some(Some(at + found));
        at + found + 1
    }

    fn open(&mut self, byte: u8, at: usize) -> usize {
        match byte {
            b'!' => self.turn(State::Declaration(0, false), at + 1),
            b'?' => self.turn(State::Bogus, at + 1),
            b'/' => {
                self.state = State::CloseOpen;
                at + 1
            }
            _ if byte.is_ascii_alphabetic() => self.begin(false, at),
            _ => self.no_tag(at),
        }
    }

    fn close_open(&mut self, byte: u8, at: usize) -> usize {
        match byte {
            _ if byte.is_ascii_alphabetic() => {
                self.decide(|page, start| page.before(start));
                self.begin(true, at)
            }
            b'>' => self.turn(State::Text, at + 1),
            _ => self.turn(State::Bogus, at),
        }
    }

    /// What was decided about needs nothing before it: a comment, a declaration.
    fn turn(&mut self, state: State, at: usize) -> usize {
        self.decide(|page, _| page.passed_markup());
        self.state = state;
        at
    }

    /// The `<` was one of the text.
    fn no_tag(&mut self, at: usize) -> usize {
        self.decide(|page, start| page.text_begins(start));
        self.state = State::Text;
        at
    }

    fn decide(&mut self, tell: impl FnOnce(&mut Page, Option<usize>)) {
        if let Some(start) = self.undecided.take() {
            tell(&mut self.page, start);
        }
    }

    fn begin(&mut self, closing: bool, at: usize) -> usize {
        self.tag.begin(closing);
        self.state = State::Name;
        at
    }

    /// `fits` bytes of `--` (`dashes`) or of `[CDATA[` have come.
    fn declaration(&mut self, byte: u8, at: usize, fits: usize, dashes: bool) -> usize {
        match (byte, fits) {
            (b'-', 0) => self.state = State::Declaration(1, true),
            (b'-', 1) if dashes => {
                self.state = State::Comment;
                self.tail = if self.page.xml { Tail([0; 3], 0) } else { Tail([0, b'-', b'-'], 0) };
            }
            _ if !dashes && (self.page.xml || self.page.is_foreign()) && CDATA.get(fits) == Some(&byte) => {
                self.state = if fits + 1 == CDATA.len() { State::Cdata } else { State::Declaration(fits + 1, false) };
                self.tail = Tail([0; 3], 0);
            }
            _ => {
                self.state = State::Bogus;
                return at;
            }
        }
        at + 1
    }

    fn skip_past(&mut self, piece: &[u8], at: usize, byte: u8, then: State) -> usize {
        match memchr(byte, &piece[at..]) {
            Some(found) => {
                self.state = then;
                at + found + 1
            }
            None => piece.len(),
        }
    }

    fn comment(&mut self, piece: &[u8], at: usize) -> usize {
        let Some(found) = memchr(b'>', &piece[at..]) else {
            self.tail.push(&piece[at..]);
            return piece.len();
        };
        self.tail.push(&piece[at..at + found]);
        if self.tail.ends_comment(self.page.xml) {
            self.state = State::Text;
        }
        self.tail.push(b">");
        at + found + 1
    }

    fn cdata(&mut self, piece: &[u8], at: usize) -> usize {
        let Some(found) = memchr(b'>', &piece[at..]) else {
            self.tail.push(&piece[at..]);
            return piece.len();
        };
        self.tail.push(&piece[at..at + found]);
        if self.tail.0[1..] == *b"]]" {
            self.state = State::Text;
        }
        self.tail.push(b">");
        at + found + 1
    }

    fn name(&mut self, piece: &[u8], at: usize) -> usize {
        let end = end_of(piece, at, |byte| is_space(byte) || matches!(byte, b'/' | b'>'));
        self.tag.name.extend(&piece[at..end]);
        // Longer than those two that come before the script.
        let complete = end < piece.len();
        if complete || self.tag.name.len() > b"html".len() {
            let passes = matches!(self.tag.name.as_bytes(), b"html" | b"head");
            self.decide(|page, start| if passes { page.passed_markup() } else { page.before(start) });
        }
        if complete {
            self.reads = self.tag.named();
            self.state = State::Gap;
        }
        end
    }

    fn gap(&mut self, piece: &[u8], at: usize) -> usize {
        let at = end_of(piece, at, |byte| !is_space(byte));
        match piece.get(at) {
            None => at,
            Some(b'/') => {
                self.state = State::Slash;
                at + 1
            }
            Some(b'>') => self.finish(at + 1),
            Some(byte) => {
                self.word.clear();
                self.word.push(*byte);
                self.state = State::AttributeName;
                at + 1
            }
        }
    }

    fn attribute_name(&mut self, piece: &[u8], at: usize) -> usize {
        let end = end_of(piece, at, |byte| is_space(byte) || matches!(byte, b'/' | b'>' | b'='));
        if self.reads {
            self.word.extend(&piece[at..end]);
        }
        if end < piece.len() {
            self.state = State::AfterName;
            if self.reads {
                self.page.attribute = self.tag.attribute(&self.word);
            }
        }
        end
    }

    fn after_name(&mut self, byte: u8, at: usize) -> usize {
        match byte {
            b'=' => {
                self.state = State::BeforeValue;
                at + 1
            }
            _ if is_space(byte) => at + 1,
            _ => {
                self.state = State::Gap;
                at
            }
        }
    }

    fn before_value(&mut self, byte: u8, at: usize) -> usize {
        match byte {
            b'"' | b'\'' => {
                self.state = State::Quoted(byte);
                self.value_begins(at + 1)
            }
            b'>' => self.finish(at + 1),
            _ if is_space(byte) => at + 1,
            _ => {
                self.state = State::Bare;
                self.value_begins(at)
            }
        }
    }

    fn value_begins(&mut self, at: usize) -> usize {
        if self.reads {
            self.page.value_begins(at);
        }
        at
    }

    fn quoted(&mut self, piece: &[u8], at: usize, quote: u8) -> usize {
        let found = memchr(quote, &piece[at..]);
        let end = found.map_or(piece.len(), |found| at + found);
        if self.reads {
            self.tag.read(&piece[at..end]);
        }
        if found.is_none() {
            return end;
        }
        self.state = State::Gap;
        end + 1
    }

    fn bare(&mut self, piece: &[u8], at: usize) -> usize {
        let end = end_of(piece, at, |byte| is_space(byte) || byte == b'>');
        if self.reads {
            self.tag.read(&piece[at..end]);
        }
        if end < piece.len() {
            self.state = State::Gap;
        }
        end
    }

    fn slash(&mut self, byte: u8, at: usize) -> usize {
        if byte == b'>' {
            self.tag.self_closing = true;
            return self.finish(at + 1);
        }
        self.state = State::Gap;
        at
    }

    /// The tag ends before `at`.
    fn finish(&mut self, at: usize) -> usize {
        self.state = match self.page.tag(&self.tag, at) {
            Then::Text => State::Text,
            Then::Plain => State::Plain,
            Then::Raw(end) => {
                self.ends_with = end;
                self.script = Script::Plain;
                self.tail = Tail([0; 3], 0);
                State::Raw
            }
        };
        at
    }

    fn raw(&mut self, piece: &[u8], at: usize) -> usize {
        let rest = &piece[at..];
        let found = if self.script == Script::Plain { memchr(b'<', rest) } else { memchr2(b'<', b'>', rest) };
        let Some(found) = found else {
            self.tail.push(rest);
            return piece.len();
        };
        self.tail.push(&rest[..found]);
        if rest[found] == b'<' {
            self.word.clear();
            self.state = State::RawWord;
        } else if self.tail.0[1..] == *b"--" {
            self.script = Script::Plain;
        }
        self.tail.push(&rest[found..=found]);
        at + found + 1
    }

    fn raw_word(&mut self, piece: &[u8], at: usize) -> usize {
        let room = self.ends_with.len().max(b"!--".len()).saturating_sub(self.word.len());
        let most = piece.len().min(at + room);
        let part = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'/' | b'!' | b'-');
        let end = end_of(&piece[..most], at, |byte| !part(byte));
        self.word.extend(&piece[at..end]);
        self.tail.push(&piece[at..end]);
        match piece.get(end) {
            Some(next) => self.raw_word_ends(*next, end),
            None => end,
        }
    }

    fn raw_word_ends(&mut self, next: u8, at: usize) -> usize {
        self.state = State::Raw;
        let delimited = is_space(next) || matches!(next, b'/' | b'>');
        let is_script = self.ends_with == b"/script";
        let word = self.word.as_bytes();
        if word == self.ends_with && delimited {
            if self.script != Script::Twice {
                return self.raw_ends(at);
            }
            self.script = Script::Escaped;
        } else if is_script && self.script == Script::Plain && word.starts_with(b"!--") {
            self.script = Script::Escaped;
        } else if is_script && self.script == Script::Escaped && (word == b"script" && delimited || word == b"script/")
        {
            self.script = Script::Twice;
        }
        at
    }

    /// The end tag that ends the text: it has a name already, and goes on like any tag.
    fn raw_ends(&mut self, at: usize) -> usize {
        self.tag.begin(true);
        self.tag.name.extend(&self.ends_with[1..]);
        self.reads = self.tag.named();
        self.state = State::Gap;
        at
    }
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        for byte in &bytes[bytes.len().saturating_sub(3)..] {
            self.0 = [self.0[1], self.0[2], *byte];
        }
        self.1 = (self.1 + bytes.len()).min(4);
    }

    /// Before a `>`: `<!-->`, `<!--->`, `-->`, `--!>`. The dashes of `<!--` count for the first two alone. In XML: `-->`.
    fn ends_comment(self, xml: bool) -> bool {
        self.0[1..] == *b"--" || !xml && self.0 == *b"--!" && self.1 >= 3
    }
}

/// Passes over text and tags, up to the first that may matter.
fn passed(piece: &[u8], mut at: usize) -> usize {
    while let Some(found) = passing::find(b'<', &piece[at..]) {
        let open = at + found;
        match passing::tag(&piece[open + 1..]) {
            Some(length) => at = open + 1 + length,
            None => return open,
        }
    }
    piece.len()
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c)
}

/// Where the first byte is that `stops`, from `at` on; the end where none does.
fn end_of(piece: &[u8], at: usize, stops: impl Fn(u8) -> bool) -> usize {
    piece[at..].iter().position(|byte| stops(*byte)).map_or(piece.len(), |found| at + found)
}
