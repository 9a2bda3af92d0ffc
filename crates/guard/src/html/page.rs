//! What the tags of a page mean to the rewriter: where the script goes in, and which forms get a field.

use super::Plan;
use super::insertion::Insertions;
use super::origin::{Base, Origin};
use super::tag::{Attribute, Kind, Tag, breaks_out};
use crate::charset;
use std::ops::Range;

/// How deep SVG, MathML and templates may be nested before the innermost are no longer told apart.
const DEPTH_MOST: usize = 128;

/// Something that goes into the page.
pub(super) struct Cut {
    /// Before which byte of the current piece; `None`: before the tag that began in an earlier one.
    pub(super) at: Option<usize>,
    pub(super) text: String,
}

/// What comes after a tag.
#[derive(Clone, Copy)]
pub(super) enum Then {
    /// Text and tags.
    Text,
    /// Text up to this end tag, given as `/name`.
    Raw(&'static [u8]),
    /// Text for ever.
    Plain,
}

/// One page.
pub(super) struct Page {
    /// What is to go into the current piece.
    pub(super) cuts: Vec<Cut>,
    /// The attribute whose value comes next, where it is wanted.
    pub(super) attribute: Option<Attribute>,
    /// It turned out to be in an encoding in which tags can't be told from text: the rest goes by unread.
    pub(super) unreadable: bool,
    insertions: Insertions,
    own: Origin,
    base: Base,
    place: Place,
    spaces: Vec<Space>,
    /// The templates around: whether each is inert.
    templates: Vec<bool>,
    in_select: bool,
    form: Option<Form>,
    forms: u32,
    wants_forms: bool,
    /// Read as XML.
    pub(super) xml: bool,
}

/// How it stands with the place of the script.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing has come that tells a page from other text.
    Start,
    /// A doctype, a comment or `<html>` have come.
    Prologue,
    /// The script is in, or goes nowhere.
    Settled,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    Html,
    Svg,
    MathMl,
}

/// The form that is open (the "form element pointer").
#[derive(Clone, Copy)]
struct Form {
    /// Whether it posts to the application itself, and so has a field.
    has_field: bool,
    own: bool,
    number: u32,
}

impl Page {
    pub(super) fn new(plan: Plan) -> Self {
        let with_script = plan.whole_page && plan.script.is_some();
        let own = Origin::new(&plan.own_origin);
        Self {
            cuts: Vec::new(),
            attribute: None,
            unreadable: false,
            own,
            base: Base::Own,
            place: if with_script { Place::Start } else { Place::Settled },
            spaces: Vec::new(),
            templates: Vec::new(),
            in_select: false,
            form: None,
            forms: 0,
            wants_forms: plan.forms,
            xml: plan.xml,
            insertions: Insertions::new(plan),
        }
    }

    /// Whether the script still waits for its place.
    pub(super) fn waits(&self) -> bool {
        self.place != Place::Settled
    }

    /// Whether nothing but certain tags matters: the script has its place, and there is HTML alone around.
    pub(super) fn is_plain(&self) -> bool {
        !self.waits() && self.spaces.is_empty()
    }

    /// Text between tags.
    pub(super) fn text(&mut self, piece: &[u8], range: Range<usize>) {
        if self.waits() {
            let blank = |byte: &u8| byte.is_ascii_whitespace() || [0xef, 0xbb, 0xbf].contains(byte);
            if let Some(found) = piece[range.clone()].iter().position(|byte| !blank(byte)) {
                self.text_begins(Some(range.start + found));
            }
        }
    }

    /// Text at the beginning means that this is no page, whatever it is called: the JSON that an older application answers to
    /// its scripts as `text/html` must stay whole.
    pub(super) fn text_begins(&mut self, at: Option<usize>) {
        if self.place == Place::Prologue {
            self.before(at);
        }
        self.place = Place::Settled;
    }

    /// A tag that the script must precede: anything but `<html>` and `<head>`. In XML it may stand in a head alone.
    pub(super) fn before(&mut self, at: Option<usize>) {
        self.place = Place::Settled;
        if !self.xml {
            self.cuts.push(Cut { at, text: self.insertions.script() });
        }
    }

    fn in_head(&mut self, tag: &Tag, at: usize) {
        self.place = Place::Settled;
        if !(self.xml && tag.self_closing) {
            self.cuts.push(Cut { at: Some(at), text: self.insertions.script() });
        }
    }

    /// A comment, a doctype, `<html>`, `<head>`: the script comes later.
    pub(super) fn passed_markup(&mut self) {
        self.place = Place::Prologue;
    }

    /// Whether SVG or MathML are around.
    pub(super) fn is_foreign(&self) -> bool {
        self.space() != Space::Html
    }

    /// The value of the attribute begins at `at`.
    pub(super) fn value_begins(&mut self, at: usize) {
        if self.attribute.take() == Some(Attribute::SrcDoc) && !self.is_foreign() {
            let text = self.insertions.script_in_attribute();
            self.cuts.extend(text.map(|text| Cut { at: Some(at), text }));
        }
    }

    /// A tag, which ends before `at`.
    pub(super) fn tag(&mut self, tag: &Tag, at: usize) -> Then {
        if tag.closing {
            self.end_tag(tag);
            return Then::Text;
        }
        if (self.is_foreign() || matches!(tag.kind, Kind::Svg | Kind::Math)) && self.enter_space(tag) {
            return Then::Text;
        }
        match self.start_tag(tag, at) {
            // Whatever is in an element of XML is marked up like everything else.
            Then::Raw(_) | Then::Plain if self.xml => Then::Text,
            then @ (Then::Text | Then::Raw(_) | Then::Plain) => then,
        }
    }

    fn start_tag(&mut self, tag: &Tag, at: usize) -> Then {
        match tag.kind {
            Kind::Other | Kind::Font | Kind::Html | Kind::Math | Kind::Svg => {}
            Kind::Head if self.waits() => self.in_head(tag, at),
            Kind::Head => {}
            Kind::Template | Kind::Select | Kind::Form if self.xml && tag.self_closing => {}
            Kind::Base => self.set_base(tag),
            Kind::Meta => self.read_meta(tag),
            Kind::Template => self.enter_template(tag),
            Kind::Select => self.in_select = !self.in_select,
            Kind::Form => self.open_form(tag, at),
            Kind::Button => self.button(tag, at),
            Kind::Input => {
                self.in_select = false;
                self.button(tag, at);
            }
            Kind::Plaintext => return Then::Plain,
            Kind::Iframe => return Then::Raw(b"/iframe"),
            Kind::Text(end) => return Then::Raw(end),
        }
        Then::Text
    }

    fn end_tag(&mut self, tag: &Tag) {
        match tag.kind {
            Kind::Form => self.form = None,
            Kind::Select => self.in_select = false,
            Kind::Template => drop(self.templates.pop()),
            Kind::Other
            | Kind::Base
            | Kind::Button
            | Kind::Font
            | Kind::Head
            | Kind::Html
            | Kind::Iframe
            | Kind::Input
            | Kind::Math
            | Kind::Meta
            | Kind::Plaintext
            | Kind::Svg
            | Kind::Text(_) => {}
        }
        if !self.spaces.is_empty() {
            self.leave_space(tag);
        }
    }

    fn space(&self) -> Space {
        self.spaces.last().copied().unwrap_or(Space::Html)
    }

    /// A start tag inside SVG or MathML, or that begins one. Whether it is an element of these.
    fn enter_space(&mut self, tag: &Tag) -> bool {
        let inner = match tag.name.as_bytes() {
            b"svg" => Space::Svg,
            b"math" => Space::MathMl,
            name if holds_html(self.space(), name) => Space::Html,
            _ if breaks_out(tag) => {
                while self.is_foreign() {
                    self.spaces.pop();
                }
                return false;
            }
            _ => return true,
        };
        if !tag.self_closing && self.spaces.len() < DEPTH_MOST {
            self.spaces.push(inner);
        }
        true
    }

    fn leave_space(&mut self, tag: &Tag) {
        let outer = self.spaces.len().checked_sub(2).and_then(|index| self.spaces.get(index)).copied();
        let name = tag.name.as_bytes();
        let leaves = match self.space() {
            Space::Svg => matches!(name, b"svg" | b"p" | b"br"),
            Space::MathMl => matches!(name, b"math" | b"p" | b"br"),
            Space::Html => outer.is_some_and(|outer| holds_html(outer, name)),
        };
        if leaves {
            self.spaces.pop();
        }
    }

    fn enter_template(&mut self, tag: &Tag) {
        if self.templates.len() < DEPTH_MOST {
            self.templates.push(tag.value(Attribute::ShadowRootMode).is_none());
        }
    }

    /// The content of a template is a model for scripts, and each copy of it will be a form of its own.
    fn is_inert(&self) -> bool {
        self.templates.contains(&true)
    }

    /// The first base counts (4.2.3), for forms before it too: those have been passed on already, with a token that is worth
    /// nothing elsewhere.
    fn set_base(&mut self, tag: &Tag) {
        if let (Base::Own, Some(href), false) = (self.base, tag.value(Attribute::Href), self.is_inert()) {
            self.base = if self.is_own(href) { Base::Set } else { Base::Foreign };
        }
    }

    fn read_meta(&mut self, tag: &Tag) {
        self.unreadable = charset::turns_opaque(tag.value(Attribute::Charset), tag.value(Attribute::Content));
        if self.unreadable {
            tracing::debug!("a page names an encoding in which tags can't be found: its rest goes by as it is");
        }
    }

    fn is_own(&self, address: &[u8]) -> bool {
        !Tag::is_cut(address) && self.own.is_target(address, self.base)
    }

    fn open_form(&mut self, tag: &Tag, at: usize) {
        // Browsers ignore a form inside a form.
        if !self.wants_forms || self.in_select || self.is_inert() || self.form.is_some() {
            return;
        }
        let own = tag.value(Attribute::Action).is_none_or(|action| self.is_own(action));
        let has_field = own && tag.value(Attribute::Method).is_some_and(is_post);
        self.form = Some(Form { has_field, own, number: self.forms });
        if has_field {
            self.insert_field(at, None);
        }
        self.forms += 1;
    }

    fn insert_field(&mut self, at: usize, owner: Option<&[u8]>) {
        let number = self.form.map_or(self.forms, |form| form.number);
        self.cuts.push(Cut { at: Some(at), text: self.insertions.field(number, owner) });
    }

    /// A button may make another form's submission a POST.
    fn button(&mut self, tag: &Tag, at: usize) {
        let posts = tag.value(Attribute::FormMethod).is_some_and(is_post);
        if !posts || !self.wants_forms || self.is_inert() {
            return;
        }
        let owner = tag.value(Attribute::Form).filter(|owner| !Tag::is_cut(owner));
        let form = self.form.filter(|_| owner.is_none());
        let own = match tag.value(Attribute::FormAction) {
            Some(action) => self.is_own(action),
            None => form.is_none_or(|form| form.own),
        };
        if own && form.is_none_or(|form| !form.has_field) {
            self.insert_field(at, owner);
            self.forms += u32::from(form.is_none());
        }
    }
}

/// Elements of SVG and MathML in which HTML goes on (13.2.6, "integration point").
fn holds_html(space: Space, name: &[u8]) -> bool {
    match space {
        Space::Html => false,
        Space::Svg => matches!(name, b"foreignobject" | b"desc" | b"title"),
        Space::MathMl => matches!(name, b"mi" | b"mo" | b"mn" | b"ms" | b"mtext"),
    }
}

fn is_post(method: &[u8]) -> bool {
    super::origin::decoded(method).eq_ignore_ascii_case(b"post")
}
