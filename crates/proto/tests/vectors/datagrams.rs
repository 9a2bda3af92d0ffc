//! The datagrams of `datagrams.json`: what the crate makes, and a writer by hand that makes the same bytes.

use vestibule_proto::datagram::{self, FlowId};
use vestibule_proto::hex;

use crate::corpus::Seed;
use crate::documents::{Datagram, DatagramVectors};

/// A question for the address of `a.example`, as a resolver asks it.
const QUESTION: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x01\x00\x01";

/// Flow, payload, and the flow id as it is written by hand.
const SAMPLES: [(u64, &[u8], &[u8]); 6] = [
    (1, b"", &[0x01]),
    (1, QUESTION, &[0x01]),
    (63, b"a", &[0x3f]),
    (64, b"a", &[0x40, 0x40]),
    (16_384, b"a", &[0x80, 0x00, 0x40, 0x00]),
    ((1 << 60) - 1, b"a", &[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
];

/// The contents of the file.
pub(crate) fn document() -> DatagramVectors {
    let datagrams = SAMPLES.map(|(flow, payload, _)| {
        let head = datagram::record_head(payload.len()).unwrap();
        Datagram {
            flow,
            payload: hex::encode(payload),
            frame: hex::encode(&datagram::encode(FlowId::new(flow).unwrap(), payload).unwrap()),
            record: hex::encode(&[head.as_slice(), payload].concat()),
        }
    });
    DatagramVectors {
        about: "Datagrams of UDP services, as a DATAGRAM frame and as a record on their flow's stream. See docs/protocol.md, section 5."
            .to_owned(),
        datagrams: datagrams.into(),
    }
}

/// Writes each by hand, and has the crate read it.
pub(crate) fn check(vectors: &DatagramVectors) {
    assert_eq!(vectors.datagrams.len(), SAMPLES.len());
    for (found, (flow, payload, id)) in vectors.datagrams.iter().zip(SAMPLES) {
        let (frame, length) = ([id, payload].concat(), payload.len() as u16);
        let record = [&length.to_be_bytes(), payload].concat();
        let texts = [&payload.to_vec(), &frame, &record].map(|bytes| hex::encode(bytes));
        assert_eq!([&found.payload, &found.frame, &found.record], texts.each_ref());
        assert_eq!(found.flow, flow);
        assert_eq!(datagram::decode(&frame), Ok((FlowId::new(flow).unwrap(), payload)));
        assert_eq!(datagram::record_length(length.to_be_bytes()), Ok(payload.len()));
    }
}

/// Seeds for the fuzzer.
pub(crate) fn seeds() -> Vec<Seed> {
    let names = ["empty", "question", "one-byte", "two-bytes", "four-bytes", "eight-bytes"];
    let frames = SAMPLES.map(|(flow, payload, _)| datagram::encode(FlowId::new(flow).unwrap(), payload).unwrap());
    names.into_iter().zip(frames).map(|(name, frame)| ("datagram_frame", name, frame)).collect()
}
