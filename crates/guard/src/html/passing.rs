//! Tags that mean nothing to the rewriter, passed in one go: most of a page's, while the tokenizer's states are for the few others.

use super::tag::{Kind, Word};
use memchr::memchr;

/// The length of the shortest name that means anything (`svg`, `xmp`).
const NAME_SHORTEST: usize = 3;
/// Up to how far a byte is looked for by hand, eight at a time.
const NEAR: usize = 16;

/// How much of what follows a `<` is a tag to which nothing is to be done, with its `>`. `None`: the tokenizer has to look.
///
/// Only for HTML proper: in SVG and MathML more names matter.
pub(super) fn tag(after: &[u8]) -> Option<usize> {
    let closing = after.first() == Some(&b'/');
    let start = usize::from(closing);
    let rest = &after[start..];
    if !rest.first()?.is_ascii_alphabetic() {
        return None;
    }
    let name = rest.iter().position(|byte| matches!(byte, b'>' | b' ' | b'\t' | b'\n' | b'\r' | 0x0c | b'/'))?;
    if matters(&rest[..name], closing) {
        return None;
    }
    end(rest, name).map(|end| start + end)
}

fn matters(name: &[u8], closing: bool) -> bool {
    if name.len() < NAME_SHORTEST {
        return false;
    }
    let mut word = Word::default();
    word.extend(name);
    let kind = Kind::of(word.as_bytes());
    if closing { kind.matters_at_its_end() } else { kind != Kind::Other }
}

/// Where the tag ends, its `>` included, from the end of its name on; `None` where it is written so that it takes a second look.
fn end(tag: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *tag.get(at)? {
            b'>' => return Some(at + 1),
            b'/' if tag.get(at + 1) == Some(&b'>') => return Some(at + 2),
            b' ' | b'\t' | b'\n' | b'\r' | 0x0c => at += 1,
            b'/' | b'=' | b'"' | b'\'' => return None,
            _ => at = attribute(tag, at + 1)?,
        }
    }
}

/// Where an attribute ends, of whose name one byte has been read.
fn attribute(tag: &[u8], at: usize) -> Option<usize> {
    let name = at + tag[at..].iter().position(|byte| NAME_ENDS[usize::from(*byte)])?;
    match tag[name] {
        b'=' => value(tag, name + 1),
        b'"' | b'\'' => None,
        _ => Some(name),
    }
}

fn value(tag: &[u8], at: usize) -> Option<usize> {
    match *tag.get(at)? {
        quote @ (b'"' | b'\'') => Some(at + 1 + find(quote, &tag[at + 1..])? + 1),
        // Space may stand before a value.
        byte if byte.is_ascii_whitespace() => None,
        _ => Some(at + tag[at..].iter().position(|byte| *byte == b'>' || byte.is_ascii_whitespace())?),
    }
}

/// As [`memchr()`], quicker where the byte is near.
pub(super) fn find(wanted: u8, bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < NEAR {
        let Some(eight) = bytes[at..].first_chunk() else {
            return bytes[at..].iter().position(|byte| *byte == wanted).map(|found| at + found);
        };
        if let Some(found) = first_of(wanted, *eight) {
            return Some(at + found);
        }
        at += eight.len();
    }
    memchr(wanted, &bytes[at..]).map(|found| at + found)
}

/// The first of eight bytes that is `wanted`, all looked at together: those that are it become zero, and only a zero byte borrows
/// from the bit above it, which was not set before. What is behind the first such byte may be wrong, and does not matter.
fn first_of(wanted: u8, eight: [u8; 8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let differs = u64::from_le_bytes(eight) ^ (ONES * u64::from(wanted));
    let marks = differs.wrapping_sub(ONES) & !differs & (ONES << 7);
    (marks != 0).then(|| marks.trailing_zeros() as usize / 8)
}

/// The bytes that end an attribute's name, and quotes, which should not be in it.
const NAME_ENDS: [bool; 256] = {
    let mut ends = [false; 256];
    let mut nth = 0;
    while nth < NAME_ENDING.len() {
        ends[NAME_ENDING[nth] as usize] = true;
        nth += 1;
    }
    ends
};
const NAME_ENDING: &[u8] = b" \t\n\r\x0c/>=\"'";

#[cfg(test)]
mod tests {
    use super::{find, tag};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_is_found_wherever_it_is(bytes in proptest::collection::vec(0x3a..0x3e_u8, 0..40), far in 0..40_usize) {
            let bytes = [vec![b'x'; far], bytes, vec![0xbc, b'<']].concat();
            for at in 0..bytes.len() {
                let expected = bytes[at..].iter().position(|byte| *byte == b'<');
                prop_assert_eq!(find(b'<', &bytes[at..]), expected);
            }
            prop_assert_eq!(find(0xff, &bytes), None);
        }
    }

    #[test]
    fn plain_tags_pass_with_their_end() {
        for whole in [
            "p>",
            "/p>",
            "br/>",
            "a href=\"/x>y\">",
            "a href='/x>y' class=\"b\">",
            "td class=what>",
            "img src=\"a\"alt='b' />",
            "li hidden data-x=\"1\">",
            "custom-element-of-any-length a=\"b\">",
            "/title>",
            "a x=y z=\"1\">",
            "a b=c\"x>",
            "a b=c=\"x\">",
            "a b=/c=\"x>",
            "a b=>",
        ] {
            let text = format!("{whole}more> \"");
            assert_eq!(tag(text.as_bytes()), Some(whole.len()), "{whole}");
        }
    }

    #[test]
    fn what_matters_or_is_in_doubt_does_not() {
        for doubtful in [
            "form>",
            "/form>",
            "FORM method=post>",
            "/template>",
            "svg>",
            "script>",
            "!-- x>",
            "?x>",
            "/>",
            " p>",
            "a b= \"x\">",
            "a =\"x\">",
            "a b = c=\"x>",
            "a \"x>",
            "a/\"x>",
            "a b=\"x",
            "a b",
            "p",
            "",
        ] {
            assert_eq!(tag(doubtful.as_bytes()), None, "{doubtful}");
        }
    }
}
