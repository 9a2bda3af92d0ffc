//! A recorded conversation with a TPM, word for word; and TPMs that say something else.

#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use proptest::prelude::*;
use vestibule_proto::entropy::SeededEntropy;
use vestibule_proto::hex::decode;
use vestibule_proto::key::Secret;
use vestibule_tpm::{SealedObject, Tpm, TpmError};

/// Recorded with swtpm 0.7.1: 32 bytes 7 sealed with the auth value of 32 bytes 1, and unsealed again. Lines `> ` are commands,
/// `< ` answers, `= ` is the sealed object. Salts and nonces of ours are those of the seeded entropy 1.
const RECORDED: &str = include_str!("vectors/conversation.txt");

const SECRET: [u8; 32] = [7; 32];
const AUTH: [u8; 32] = [1; 32];

fn recorded(mark: &str) -> Vec<Vec<u8>> {
    let lines = RECORDED.lines().filter_map(|line| line.strip_prefix(mark));
    lines.map(hex).collect()
}

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|digits| decode::<1>(std::str::from_utf8(digits).unwrap()).unwrap()[0]).collect()
}

/// A TPM that gives these answers, whatever it is asked, and then is gone. Returns the commands that it was sent.
fn fake(answers: Vec<Vec<u8>>) -> (tempfile::TempDir, thread::JoinHandle<Vec<Vec<u8>>>) {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("tpm")).unwrap();
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut commands = Vec::new();
        for answer in answers {
            let Some(command) = command(&mut stream) else { break };
            commands.push(command);
            // Who announces more or less than comes would be waited for, now or at the next answer.
            let announced = answer.get(2..6).map_or(u32::MAX, |length| u32::from_be_bytes(length.try_into().unwrap()));
            if stream.write_all(&answer).is_err() || announced as usize != answer.len() || answer.len() < 10 {
                break;
            }
        }
        commands
    });
    (folder, served)
}

fn command(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 10];
    stream.read_exact(&mut bytes).ok()?;
    let length = u32::from_be_bytes(bytes[2..6].try_into().unwrap());
    bytes.resize(length as usize, 0);
    stream.read_exact(&mut bytes[10..]).ok()?;
    Some(bytes)
}

type Outcome = (Result<SealedObject, TpmError>, Result<[u8; 32], TpmError>);

/// Seals, and unseals what was sealed, or else the recorded object.
fn converse(answers: Vec<Vec<u8>>) -> (Outcome, Vec<Vec<u8>>) {
    let (folder, served) = fake(answers);
    let mut tpm = Tpm::open(&folder.path().join("tpm")).unwrap();
    let entropy = &mut SeededEntropy::new(1);
    let auth = Secret::new(AUTH);
    let sealed = tpm.seal(&Secret::new(SECRET), Some(&auth), entropy);
    let object = SealedObject::from_bytes(&recorded("= ")[0]).unwrap();
    let opened = tpm.unseal(&object, Some(&auth), entropy).map(|secret| *secret.expose());
    drop(tpm);
    ((sealed, opened), served.join().unwrap())
}

#[test]
fn the_recorded_conversation_is_reproduced() {
    let ((sealed, opened), commands) = converse(recorded("< "));
    assert!(sealed.is_ok_and(|object| object.to_bytes() == recorded("= ")[0]));
    assert_eq!(opened, Ok(SECRET));
    assert_eq!(commands, recorded("> "));
}

/// Neither the secret nor the auth value goes over the wire, in either direction.
#[test]
fn nothing_secret_is_to_be_read_on_the_way() {
    for bytes in recorded("> ").iter().chain(&recorded("< ")) {
        for secret in [&SECRET[..8], &AUTH[..8]] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
    }
}

#[test]
fn an_answer_of_a_wrong_length_is_malformed() {
    for length in [0u32, 9, 4_097, u32::MAX] {
        let mut answer = recorded("< ")[0].clone();
        answer[2..6].copy_from_slice(&length.to_be_bytes());
        let ((sealed, _), _) = converse(vec![answer]);
        assert_eq!(sealed.err(), Some(TpmError::Malformed), "length {length}");
    }
}

#[test]
fn a_tpm_that_goes_away_is_told() {
    let answers = recorded("< ");
    for count in 0..answers.len() {
        let ((sealed, opened), _) = converse(answers[..count].to_vec());
        let gone = |error| matches!(error, Some(TpmError::Unreachable(_)));
        // The last two answers are to giving handles back.
        assert!(gone(opened.err()) || count >= answers.len() - 3, "{count} answers");
        assert!(gone(sealed.err()) || count >= 3, "{count} answers");
    }
}

/// One answer in another form: what a defect, or somebody on the bus, would make of it.
#[derive(Debug, Clone)]
enum Change {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Lengthen(Vec<u8>),
    Replace(Vec<u8>),
    Swap(prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let bytes = || prop::collection::vec(any::<u8>(), 1..200);
    prop_oneof![
        6 => (any::<prop::sample::Index>(), 0u8..8).prop_map(|(place, bit)| Change::Flip(place, bit)),
        2 => any::<prop::sample::Index>().prop_map(Change::Cut),
        1 => bytes().prop_map(Change::Lengthen),
        1 => bytes().prop_map(Change::Replace),
        1 => any::<prop::sample::Index>().prop_map(Change::Swap),
    ]
}

fn changed(answers: &[Vec<u8>], which: usize, change: &Change, honest_length: bool) -> Vec<u8> {
    let mut answer = answers[which].clone();
    match change {
        Change::Flip(place, bit) => {
            let place = place.index(answer.len());
            answer[place] ^= 1 << bit;
        }
        Change::Cut(length) => answer.truncate(length.index(answer.len())),
        Change::Lengthen(more) => answer.extend_from_slice(more),
        Change::Replace(other) => answer.splice(10.min(answer.len()).., other.iter().copied()).for_each(drop),
        Change::Swap(other) => answer.clone_from(&answers[other.index(answers.len())]),
    }
    let length = u32::try_from(answer.len()).unwrap();
    if honest_length && answer.len() >= 6 {
        answer[2..6].copy_from_slice(&length.to_be_bytes());
    }
    answer
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever becomes of an answer: either it does not matter, or nothing is sealed and nothing comes out. No answer makes
    /// us take another secret for ours, or seal to what another could open.
    #[test]
    fn an_altered_answer_gives_the_same_or_nothing(
        which in any::<prop::sample::Index>(),
        change in change(),
        honest_length in any::<bool>(),
    ) {
        let mut answers = recorded("< ");
        let which = which.index(answers.len());
        answers[which] = changed(&answers, which, &change, honest_length);
        let ((sealed, opened), _) = converse(answers);
        if let Ok(object) = sealed {
            prop_assert_eq!(object.to_bytes(), recorded("= ")[0].clone());
        }
        if let Ok(secret) = opened {
            prop_assert_eq!(secret, SECRET);
        }
    }
}
