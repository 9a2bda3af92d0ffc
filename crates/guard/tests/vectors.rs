//! The test vectors in `vectors/`: they are what this code makes, and a reader that shares no code with it reads them.
//!
//! After a deliberate change of the token, `VESTIBULE_WRITE_VECTORS=1 cargo test -p vestibule-guard --test vectors` writes them anew,
//! and the corpus of the fuzzer with them.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{cmac, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use vestibule_guard::{
    AppName, Binding, Context, KeyRecord, Keyring, KeyringSettings, LogicalAddress, Page, SealedGrants, Serial, Stamp,
    UserName, source_of,
};
use vestibule_policy::web::{Allowance, GrantSet, Methods, PathPattern};

#[derive(PartialEq, Debug, Serialize, Deserialize)]
struct Vectors {
    about: String,
    tokens: Vec<Vector>,
}

/// One token and all that it was made of; byte strings in hexadecimal.
#[derive(PartialEq, Debug, Serialize, Deserialize)]
struct Vector {
    key_id: u32,
    key: String,
    nonce: String,
    address: IpAddr,
    binding: String,
    started_ms: u64,
    app: String,
    user: String,
    serial: u64,
    issued_ms: u64,
    method: String,
    host: String,
    path_and_query: String,
    /// As postcard.
    grants: String,
    content: String,
    token: String,
}

/// Writes the files once, before any test reads them, if that is asked for.
static WRITTEN: LazyLock<()> = LazyLock::new(|| {
    if std::env::var_os("VESTIBULE_WRITE_VECTORS").is_some() {
        for (path, bytes) in made() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
        }
    }
});

fn made() -> Vec<(PathBuf, Vec<u8>)> {
    let vectors = make();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/page_token");
    let mut files = Vec::new();
    for (n, vector) in vectors.tokens.iter().enumerate() {
        files.push((corpus.join(format!("token-{n}")), vector.token.clone().into_bytes()));
        files.push((corpus.join(format!("content-{n}")), unhex(&vector.content)));
    }
    let mut text = serde_json::to_vec_pretty(&vectors).unwrap();
    text.push(b'\n');
    files.push((path(), text));
    files
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/page_token.json")
}

fn read() -> Vectors {
    LazyLock::force(&WRITTEN);
    serde_json::from_slice(&std::fs::read(path()).unwrap()).unwrap()
}

fn make() -> Vectors {
    let rule = |methods: &str, paths: &[&str]| Allowance {
        methods: Methods::parse(methods).unwrap(),
        paths: paths.iter().map(|text| PathPattern::parse(text).unwrap()).collect(),
        files: vec![],
    };
    let clerk = GrantSet::only(vec![rule("reads", &["/", "/help/**"]), rule("GET POST", &["/orders/**"])]);
    let tokens = vec![
        vector("fd00::9", &SealedGrants::Inline(GrantSet::everything())),
        vector("fd00::9", &SealedGrants::Inline(clerk.clone())),
        vector("10.64.3.9", &SealedGrants::Reference(clerk.id())),
    ];
    let about = "Page tokens: key, nonce, context and page of each. See docs/protocol.md, section 11.".to_owned();
    Vectors { about, tokens }
}

/// Seals with the code under test.
fn vector(address: &str, grants: &SealedGrants) -> Vector {
    let app = AppName::new("orders").unwrap();
    let (address, started): (IpAddr, _) = (address.parse().unwrap(), Stamp(1_799_999_000_000));
    let context = Context { address: LogicalAddress(address), binding: Binding([2; 32]), started, app: &app };
    let (method, host, path_and_query) = ("GET", "orders.example", "/orders/7?edit=1");
    let page = Page {
        user: UserName::new("alice@example.org").unwrap(),
        serial: Serial(42),
        issued: Stamp(1_800_000_000_000),
        source: source_of(method, host, path_and_query),
        grants: grants.clone(),
    };
    let key = KeyRecord { id: 7, made: Stamp(0), secret: zeroize::Zeroizing::new([1; 32]) };
    let nonce: [u8; 24] = std::array::from_fn(|index| u8::try_from(index).unwrap());
    let ring = Keyring::new(KeyringSettings::default(), &key, &[]);
    let token = ring.seal(&page, &context, nonce);
    assert_eq!(ring.open(token.as_str(), &context, page.issued).as_ref(), Ok(&page));
    let mut vector = Vector {
        key_id: key.id,
        key: hex(&key.secret[..]),
        nonce: hex(&nonce),
        address,
        binding: hex(&context.binding.0),
        started_ms: started.0,
        app: app.to_string(),
        user: page.user.to_string(),
        serial: page.serial.0,
        issued_ms: page.issued.0,
        method: method.to_owned(),
        host: host.to_owned(),
        path_and_query: path_and_query.to_owned(),
        grants: hex(&postcard::to_stdvec(grants).unwrap()),
        content: String::new(),
        token: token.to_string(),
    };
    vector.content = hex(&clean_room_open(&vector));
    vector
}

#[test]
fn the_files_are_what_this_code_makes() {
    LazyLock::force(&WRITTEN);
    for (path, bytes) in made() {
        let found = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(found == bytes, "{} is not what is made now; meant so? see the head of this file", path.display());
    }
}

#[test]
fn a_clean_room_reads_every_token() {
    for vector in read().tokens {
        let content = clean_room_open(&vector);
        assert_eq!(hex(&content), vector.content);
        assert_eq!(content, clean_room_content(&vector));
        assert!(vector.token.len() <= 512);
    }
}

/// Written from `docs/protocol.md`: CMAC, AES-256-GCM and base64 alone.
fn clean_room_open(vector: &Vector) -> Vec<u8> {
    let token = URL_SAFE_NO_PAD.decode(&vector.token).unwrap();
    assert_eq!(token[0], 1);
    assert_eq!(token[1..5], vector.key_id.to_be_bytes());
    let nonce = unhex(&vector.nonce);
    assert_eq!(token[5..29], nonce);

    let master = cmac::Key::new(cmac::AES_256, &unhex(&vector.key)).unwrap();
    let half = |counter: u8| cmac::sign(&master, &[&[0, counter, b'X', 0], &nonce[..12]].concat()).unwrap();
    let key = [half(1).as_ref(), half(2).as_ref()].concat();
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
    let nonce = Nonce::try_assume_unique_for_key(&nonce[12..]).unwrap();
    let mut sealed = token[29..].to_vec();
    key.open_in_place(nonce, Aad::from(clean_room_associated(vector)), &mut sealed).unwrap().to_vec()
}

fn clean_room_associated(vector: &Vector) -> Vec<u8> {
    let address = match vector.address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let mut associated = b"vestibule/1 page".to_vec();
    associated.push(1);
    associated.extend(vector.key_id.to_be_bytes());
    associated.extend(address.octets());
    associated.extend(unhex(&vector.binding));
    associated.extend(vector.started_ms.to_be_bytes());
    associated.extend(vector.app.bytes());
    associated
}

fn clean_room_content(vector: &Vector) -> Vec<u8> {
    let address = ["vestibule/1 source", &vector.method, &vector.host, &vector.path_and_query, ""].join("\0");
    let mut content = vector.serial.to_be_bytes().to_vec();
    content.extend(vector.issued_ms.to_be_bytes());
    content.extend(&digest::digest(&digest::SHA256, address.as_bytes()).as_ref()[..16]);
    content.push(u8::try_from(vector.user.len()).unwrap());
    content.extend(vector.user.bytes());
    content.extend(unhex(&vector.grants));
    content
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
