//! The frames of `frames.json`: a writer by hand makes the same bytes, and the crate reads exactly these and no others.

use std::collections::{BTreeMap, BTreeSet};

use vestibule_proto::frame::{FrameError, LENGTH_LEN};

use crate::documents::{Field, Frame, FrameVectors};
use crate::frames::{Sample, samples, variants};
use crate::{clean_frames, read};

fn bytes(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2).map(|pair| str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// The samples with the fields of the file, by name.
fn vectors() -> Vec<(Sample, Frame)> {
    let frames = read::<FrameVectors>("frames.json").frames;
    let samples = samples();
    assert_eq!(samples.len(), frames.len());
    samples.into_iter().zip(frames).collect()
}

fn joined(fields: &[Field]) -> Vec<u8> {
    fields.iter().flat_map(|field| bytes(&field.bytes)).collect()
}

#[test]
fn a_clean_room_writes_every_frame() {
    let by_hand = clean_frames::frames();
    for ((sample, found), (name, fields)) in vectors().iter().zip(by_hand) {
        let document = joined(&fields);
        let whole = [&(document.len() as u32).to_be_bytes(), document.as_slice()].concat();
        assert_eq!((found.name.as_str(), bytes(&found.frame)), (name, whole), "what the file holds");
        assert_eq!(joined(&found.fields), document, "{name}: its fields");
        assert_eq!(sample.frame, bytes(&found.frame), "{name}: what the crate makes");
    }
}

#[test]
fn every_frame_is_read_and_written_again() {
    for (sample, frame) in vectors() {
        let whole = bytes(&frame.frame);
        assert_eq!((sample.again)(&whole[LENGTH_LEN..]), Ok(whole), "{}", sample.name);
    }
}

/// What a later version appends is not read past: it may only be sent when the version is settled.
#[test]
fn a_document_that_is_cut_or_goes_on_is_refused() {
    for (sample, frame) in vectors() {
        let document = &bytes(&frame.frame)[LENGTH_LEN..];
        for length in 0..document.len() {
            assert_eq!((sample.again)(&document[..length]), Err(FrameError::Malformed), "{}: {length}", sample.name);
        }
        for appended in [&[0][..], &[1], &[0; 32], document] {
            let longer = [document, appended].concat();
            assert_eq!((sample.again)(&longer), Err(FrameError::Malformed), "{}: {appended:?}", sample.name);
        }
    }
}

#[test]
fn an_unknown_variant_is_refused() {
    let known: BTreeMap<_, _> = variants().into_iter().collect();
    let mut tried = 0;
    for (sample, frame) in vectors() {
        for (at, field) in frame.fields.iter().enumerate() {
            let Some(of) = field.field.strip_prefix("variant of ") else { continue };
            for unknown in [known[of], 127] {
                let document = with(&frame, at, &[unknown as u8]);
                assert_eq!((sample.again)(&document), Err(FrameError::Malformed), "{}: {of} {unknown}", sample.name);
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "{tried}");
}

/// So a variant that is put between others, or forgotten here, is noticed.
#[test]
fn every_variant_has_a_frame() {
    let mut found: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for (_, frame) in vectors() {
        for field in frame.fields {
            if let Some(of) = field.field.strip_prefix("variant of ") {
                found.entry(of.to_owned()).or_default().insert(usize::from(bytes(&field.bytes)[0]));
            }
        }
    }
    let all: BTreeMap<_, _> = variants().into_iter().map(|(of, count)| (of.to_owned(), (0..count).collect())).collect();
    assert_eq!(found, all);
}

#[test]
fn what_no_field_may_hold_is_refused() {
    let long = |length: usize| [&[length as u8 | 0x80, (length >> 7) as u8], vec![0x11; length].as_slice()].concat();
    let tries: &[(&str, &str, Vec<u8>)] = &[
        ("hello", "registers: no", vec![2]),
        ("hello", "address", vec![2, 198, 51, 100, 1, 0xbb, 3]),
        ("hello", "name", vec![4, 0xff, 0xfe, 0xfd, 0xfc]),
        // 65,536 is no port, no version, and no varint of 16 bits.
        ("hello", "address", vec![0, 198, 51, 100, 1, 0x80, 0x80, 4]),
        ("hello", "lowest version", vec![0x80, 0x80, 4]),
        ("hello, first link", "G_tls", vec![0x30; 44]),
        ("admit", "I1", long(191)),
        ("admit", "I1", long(193)),
        ("ready", "I2", long(207)),
        ("publish", "signature", [&[63], [0x51; 63].as_slice()].concat()),
        ("rows", "first", vec![2]),
        // More rows than there are bytes: nothing is allocated for them.
        ("rows", "rows", vec![0xff, 0xff, 0xff, 0xff, 0x0f]),
        // 2 GiB, no pass, 17 lanes: nobody's password is stretched so.
        ("L2 challenge", "Argon2id memory, KiB", vec![0x80, 0x80, 0x80, 1]),
        ("L2 challenge", "passes", vec![0]),
        ("L2 challenge", "lanes", vec![17]),
        ("T open a service", "name", vec![2, b'd', b'_']),
        ("T open a service", "name", vec![0]),
        ("renewal", "granted", vec![2]),
        ("E1 done", "published", vec![2]),
    ];
    let vectors = vectors();
    for (name, field, bytes) in tries {
        let (sample, frame) = vectors.iter().find(|(sample, _)| sample.name == *name).unwrap();
        let at = frame.fields.iter().position(|found| found.field == *field).unwrap();
        assert_eq!((sample.again)(&with(frame, at, bytes)), Err(FrameError::Malformed), "{name}: {field} {bytes:?}");
    }
}

/// The frame's document with other bytes in one field.
fn with(frame: &Frame, at: usize, other: &[u8]) -> Vec<u8> {
    [&joined(&frame.fields[..at]), other, &joined(&frame.fields[at + 1..])].concat()
}
