//! Names of tags and attributes, and what they mean to the rewriter.

/// The most characters of a name that matters here.
const WORD_LONGEST: usize = 16;
/// The most bytes that are kept of an attribute's value; a longer one counts as unreadable.
const VALUE_LONGEST: usize = 8 * 1024;

/// A name in lower case. One that is too long to matter reads as empty.
#[derive(Clone, Copy, Default)]
pub(super) struct Word {
    bytes: [u8; WORD_LONGEST],
    len: usize,
}

/// The elements at which something is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Kind {
    #[default]
    Other,
    Base,
    Button,
    Font,
    Form,
    Head,
    Html,
    Iframe,
    Input,
    Math,
    Meta,
    Plaintext,
    Select,
    Svg,
    Template,
    /// Its content is text up to its own end tag, which is given here as `/name`.
    Text(&'static [u8]),
}

/// The attributes that are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Attribute {
    Action,
    Charset,
    Color,
    Content,
    Face,
    Form,
    FormAction,
    FormMethod,
    Href,
    Method,
    ShadowRootMode,
    Size,
    SrcDoc,
}

/// The tag being read.
#[derive(Default)]
pub(super) struct Tag {
    pub(super) name: Word,
    pub(super) kind: Kind,
    pub(super) closing: bool,
    pub(super) self_closing: bool,
    /// The attributes that matter at this element, the first of each name (13.2.5.33).
    found: Vec<(Attribute, Vec<u8>)>,
    /// Whether the value that is being read belongs to the last of `found`.
    reading: bool,
}

impl Word {
    pub(super) fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte.to_ascii_lowercase();
        }
        self.len = (self.len + 1).min(WORD_LONGEST + 1);
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        let room = (WORD_LONGEST + 1).saturating_sub(self.len);
        for byte in &bytes[..bytes.len().min(room)] {
            self.push(*byte);
        }
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// How long it is; anything over the longest is the same.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Kind {
    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            b"base" => Self::Base,
            b"button" => Self::Button,
            b"font" => Self::Font,
            b"form" => Self::Form,
            b"head" => Self::Head,
            b"html" => Self::Html,
            b"iframe" => Self::Iframe,
            b"input" => Self::Input,
            b"math" => Self::Math,
            b"meta" => Self::Meta,
            b"plaintext" => Self::Plaintext,
            b"select" => Self::Select,
            b"svg" => Self::Svg,
            b"template" => Self::Template,
            b"noembed" => Self::Text(b"/noembed"),
            b"noframes" => Self::Text(b"/noframes"),
            b"script" => Self::Text(b"/script"),
            b"style" => Self::Text(b"/style"),
            b"textarea" => Self::Text(b"/textarea"),
            b"title" => Self::Text(b"/title"),
            b"xmp" => Self::Text(b"/xmp"),
            _ => Self::Other,
        }
    }

    /// The attribute of that name, where it matters at this element.
    fn attribute(self, name: &[u8]) -> Option<Attribute> {
        match (self, name) {
            (Self::Form, b"action") => Some(Attribute::Action),
            (Self::Form, b"method") => Some(Attribute::Method),
            (Self::Button | Self::Input, b"form") => Some(Attribute::Form),
            (Self::Button | Self::Input, b"formaction") => Some(Attribute::FormAction),
            (Self::Button | Self::Input, b"formmethod") => Some(Attribute::FormMethod),
            (Self::Base, b"href") => Some(Attribute::Href),
            (Self::Meta, b"charset") => Some(Attribute::Charset),
            (Self::Meta, b"content") => Some(Attribute::Content),
            (Self::Template, b"shadowrootmode") => Some(Attribute::ShadowRootMode),
            (Self::Iframe, b"srcdoc") => Some(Attribute::SrcDoc),
            (Self::Font, b"color") => Some(Attribute::Color),
            (Self::Font, b"face") => Some(Attribute::Face),
            (Self::Font, b"size") => Some(Attribute::Size),
            _ => None,
        }
    }

    /// Whether its end tag means anything in HTML proper.
    pub(super) fn matters_at_its_end(self) -> bool {
        matches!(self, Self::Form | Self::Select | Self::Template)
    }

    /// Whether any attribute of it is read.
    fn has_attributes(self) -> bool {
        match self {
            Self::Base
            | Self::Button
            | Self::Font
            | Self::Form
            | Self::Iframe
            | Self::Input
            | Self::Meta
            | Self::Template => true,
            Self::Other
            | Self::Head
            | Self::Html
            | Self::Math
            | Self::Plaintext
            | Self::Select
            | Self::Svg
            | Self::Text(_) => false,
        }
    }
}

impl Tag {
    /// Begins to read a tag.
    pub(super) fn begin(&mut self, closing: bool) {
        self.name.clear();
        self.closing = closing;
        self.self_closing = false;
        self.reading = false;
        self.found.clear();
    }

    /// The name has come to its end. Whether attributes are to be read.
    pub(super) fn named(&mut self) -> bool {
        self.kind = Kind::of(self.name.as_bytes());
        !self.closing && self.kind.has_attributes()
    }

    /// An attribute's name has come to its end. Says which it is, where its value is wanted.
    pub(super) fn attribute(&mut self, name: &Word) -> Option<Attribute> {
        let wanted = self.kind.attribute(name.as_bytes()).filter(|attribute| self.value(*attribute).is_none());
        self.reading = wanted.is_some();
        self.found.extend(wanted.map(|attribute| (attribute, Vec::new())));
        wanted
    }

    /// A piece of the value.
    pub(super) fn read(&mut self, piece: &[u8]) {
        if let Some((_, value)) = self.found.last_mut().filter(|_| self.reading) {
            let room = (VALUE_LONGEST + 1).saturating_sub(value.len());
            value.extend_from_slice(&piece[..piece.len().min(room)]);
        }
    }

    /// The value as written, references and all.
    pub(super) fn value(&self, attribute: Attribute) -> Option<&[u8]> {
        self.found.iter().find(|(name, _)| *name == attribute).map(|(_, value)| value.as_slice())
    }

    /// Whether a value was too long to be kept whole.
    pub(super) fn is_cut(value: &[u8]) -> bool {
        value.len() > VALUE_LONGEST
    }
}

/// Whether the element ends SVG or MathML around it (13.2.6.5).
pub(super) fn breaks_out(tag: &Tag) -> bool {
    match tag.name.as_bytes() {
        b"b" | b"big" | b"blockquote" | b"body" | b"br" | b"center" | b"code" | b"dd" | b"div" | b"dl" | b"dt"
        | b"em" | b"embed" | b"h1" | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" | b"head" | b"hr" | b"i" | b"img"
        | b"li" | b"listing" | b"menu" | b"meta" | b"nobr" | b"ol" | b"p" | b"pre" | b"ruby" | b"s" | b"small"
        | b"span" | b"strong" | b"strike" | b"sub" | b"sup" | b"table" | b"tt" | b"u" | b"ul" | b"var" => true,
        b"font" => [Attribute::Color, Attribute::Face, Attribute::Size].iter().any(|name| tag.value(*name).is_some()),
        _ => false,
    }
}
