//! The frames of `frames.json` again, field by field: written by hand from `docs/protocol.md` and postcard's own description of
//! its format, without the crate and without postcard.

use crate::documents::Field;

/// Writes a document, and notes which bytes are which field.
#[derive(Default)]
struct Page(Vec<Field>);

impl Page {
    /// Bytes as they are: keys, ids, digests; bool and u8.
    fn raw(mut self, field: &str, bytes: &[u8]) -> Self {
        self.0.push(Field { field: field.to_owned(), bytes: hex(bytes) });
        self
    }

    /// A number of 16 bits or more: 7 bits a byte, the low ones first; the top bit says that more follow.
    fn number(self, field: &str, number: u64) -> Self {
        self.raw(field, &varint(number))
    }

    /// Text and byte strings of no fixed length: their length before them.
    fn string(self, field: &str, bytes: &[u8]) -> Self {
        self.raw(field, &[varint(bytes.len() as u64), bytes.to_vec()].concat())
    }

    /// Which variant of an enum follows, counted from 0.
    fn variant(self, of: &str, number: u8) -> Self {
        self.raw(&format!("variant of {of}"), &[number])
    }

    /// IPv4: 0, the address, the port. IPv6: 1, the address, the port.
    fn v4(self, field: &str, address: [u8; 4], port: u64) -> Self {
        self.raw(field, &[&[0], address.as_slice(), &varint(port)].concat())
    }

    fn v6(self, field: &str) -> Self {
        let address = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        self.raw(field, &[&[1], address.as_slice(), &varint(51_820)].concat())
    }

    fn spki(self, field: &str, byte: u8) -> Self {
        self.raw(field, &[b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".as_slice(), &[byte; 32]].concat())
    }

    fn row(self) -> Self {
        self.raw("A2", &[0xa2; 32]).raw("D_out", &[0xd0; 32]).raw("psk_c", &[0xcc; 32])
    }

    fn argon2id(self, memory: u64, passes: u64, lanes: u64) -> Self {
        self.number("Argon2id memory, KiB", memory).number("passes", passes).number("lanes", lanes)
    }

    fn services(self) -> Self {
        self.number("services", 2)
            .string("name", b"db")
            .variant("ServiceKind", 0)
            .string("upstream", b"10.0.0.5:5432")
            .string("name", b"orders")
            .variant("ServiceKind", 1)
            .string("upstream", b"10.0.0.8:8000")
    }
}

fn page() -> Page {
    Page::default()
}

/// What begins `Hello` and `ClientHello` in every version.
fn versions(lowest: u64, highest: u64) -> Page {
    page().number("lowest version", lowest).number("highest version", highest)
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Each frame's name and fields, without the four bytes of its length.
pub(crate) fn frames() -> Vec<(&'static str, Vec<Field>)> {
    let pages = [greetings(), publishing(), admissions(), logins(), enrolments(), notices(), reasons(), tunnels()];
    pages.into_iter().flatten().map(|(name, page)| (name, page.0)).collect()
}

type Pages = Vec<(&'static str, Page)>;

fn greetings() -> Pages {
    let hello = |versions: Page| versions.raw("gateway id", &[0x9a; 16]).string("name", b"home");
    let refused = |number| page().variant("link::Welcome", 1).variant("LinkRefusal", number);
    let known = hello(versions(1, 1)).number("addresses", 2).v4("address", [198, 51, 100, 1], 443).v6("address");
    let first = hello(versions(1, 1)).number("addresses", 1).v4("address", [198, 51, 100, 1], 443);
    let later = hello(versions(2, 300)).number("addresses", 0);
    vec![
        ("hello", known.raw("registers: no", &[0])),
        ("hello, first link", first.raw("registers: yes", &[1]).row().spki("G_tls", 0x97)),
        ("hello, later versions only", later.raw("registers: no", &[0])),
        ("linked", page().variant("link::Welcome", 0).number("version", 1)),
        ("not linked: version", refused(0)),
        ("not linked: another gateway", refused(1)),
        ("not linked: storage", refused(2)),
    ]
}

fn publishing() -> Pages {
    let request = |number| page().variant("ToController", number);
    let answer = |number| page().variant("FromController", number);
    let hand_over = request(4).spki("G_tls", 0x97);
    let rows = request(0).raw("first", &[1]).raw("last", &[0]).number("rows", 2).row().row();
    let without = answer(3)
        .number("rows", 3)
        .raw("A2", &[1; 32])
        .variant("RowRefusal", 0)
        .raw("A2", &[2; 32])
        .variant("RowRefusal", 1)
        .raw("A2", &[3; 32])
        .variant("RowRefusal", 2);
    vec![
        ("rows", rows.string("signature", &[0x51; 64])),
        ("publish", request(1).row().string("signature", &[0x51; 64])),
        ("withdraw", request(2).raw("A2", &[0xa2; 32])),
        ("addresses", request(3).number("addresses", 1).v6("address")),
        ("hand over", hand_over.raw("by the former key", &[0x51; 64]).raw("by the new key", &[0x52; 64])),
        ("done", answer(0)),
        ("not done: refused", answer(1)),
        ("not done: storage", answer(2)),
        ("done without some", without.number("more", 300).number("share", 100_000)),
    ]
}

fn admissions() -> Pages {
    let request = |number| page().variant("ToGateway", number);
    let answer = |number| page().variant("Answer", number);
    let admit = || request(0).number("request", 300).raw("A2", &[0xa2; 32]);
    let asked = |admit: Page| admit.string("I1", &[0x11; 192]).number("deadline, ms", 2_000);
    let ready = answer(0).number("addresses", 2).v4("address", [198, 51, 100, 1], 443).v6("address");
    vec![
        ("admit", asked(admit().v4("source", [192, 0, 2, 7], 40_000))),
        ("admit, IPv6", asked(admit().v6("source"))),
        ("withdraw an admission", request(1).number("request", 300)),
        ("ping", request(2)),
        ("realm key", request(3).number("epoch", 300).raw("K_realm", &[0x4e; 32])),
        ("ready", ready.string("I2", &[0x12; 208]).number("window, ms", 10_000)),
        ("refused", answer(1).string("refusal", &[0x12; 208])),
        ("seen", answer(2)),
        ("away", answer(3)),
    ]
}

fn logins() -> Pages {
    let gateway = |number| page().variant("GatewayHello", number);
    let login = |versions: Page| versions.variant("Wanted", 0).string("user", b"alice").string("KE1", &[0xe1; 96]);
    let challenge = gateway(0).string("KE2", &[0xe2; 320]).argon2id(65_536, 3, 1);
    let welcome = |number| {
        gateway(number)
            .raw("session", &[0x5e; 16])
            .raw("resume secret", &[0x2e; 32])
            .number("expires in, seconds", 43_200)
            .number("and nanoseconds", 5)
            .number("idle limit, seconds", 3_600)
            .number("and nanoseconds", 0)
            .services()
    };
    let resume = versions(1, 1).variant("Wanted", 1).raw("session", &[0x5e; 16]);
    vec![
        ("L1 login", login(versions(1, 1))),
        ("L1 login, later versions only", login(versions(2, 300))),
        ("L2 challenge", challenge),
        ("L3 finish", page().string("KE3", &[0xe3; 64])),
        ("L4 welcome", welcome(1)),
        ("L4 welcome, direct", welcome(6).number("direct services", 1).string("name", b"db")),
        ("refused", gateway(4).variant("Reason", 2).raw("tries", &[3]).raw("limit", &[20])),
        ("R1 resume", resume.raw("proof", &[0x3f; 32])),
    ]
}

fn enrolments() -> Pages {
    let gateway = |number| page().variant("GatewayHello", number);
    let start = versions(1, 1)
        .variant("Wanted", 2)
        .string("user", b"alice")
        .string("device's name", b"laptop")
        .raw("D_out", &[0xd0; 32])
        .raw("D_in", &[0xd1; 32])
        .spki("D_tls", 0xd7)
        .raw("psk_g", &[0xc9; 32])
        .raw("fingerprint commitment", &[0xfc; 32])
        .string("RegistrationRequest", &[0x01; 32]);
    let response = gateway(2).raw("device", &[0xde; 16]).string("RegistrationResponse", &[0x02; 64]).argon2id(8, 1, 1);
    let enrolled = |variant| {
        gateway(variant)
            .raw("device", &[0xde; 16])
            .raw("A2", &[0xa2; 32])
            .raw("psk_c", &[0xcc; 32])
            .raw("psk_r", &[0xce; 32])
            .number("pins", 2)
            .spki("G_tls", 0x97)
            .spki("G_tls", 0x98)
            .raw("typo bits", &[10])
            .number("version floor", 1)
    };
    vec![
        ("E1 start", start),
        ("E1 response", response),
        ("E1 upload", page().string("record", &[0x03; 192])),
        ("E1 enrolled", enrolled(3)),
        ("E1 enrolled, waiting", enrolled(5)),
        ("E1 confirm", page().raw("device", &[0xde; 16])),
        ("E1 done", page().raw("published", &[1])),
        ("E1 done, not published", page().raw("published", &[0])),
    ]
}

fn notices() -> Pages {
    let renewal = || page().variant("Notice", 2);
    let udp = page()
        .variant("Notice", 0)
        .number("services", 1)
        .string("name", b"dns")
        .variant("ServiceKind", 2)
        .string("upstream", b"10.0.0.53:53");
    vec![
        ("services", page().variant("Notice", 0).services()),
        ("renewal", renewal().raw("granted", &[0]).string("link", b"vestibule:AAAA")),
        ("no renewal", renewal().raw("not granted", &[1]).variant("Reason", 5)),
        ("realm key for a device", page().variant("Notice", 3).number("epoch", 300).raw("K_realm", &[0x4e; 32])),
        ("gateway key for a device", page().variant("Notice", 4).spki("G_tls", 0x97).raw("mac", &[0x3a; 32])),
        ("direct", page().variant("Notice", 5).number("services", 1).string("name", b"db")),
        ("services, UDP", udp),
        ("sign off", page().variant("ClientNotice", 0)),
        ("renew", page().variant("ClientNotice", 1)),
    ]
}

fn reasons() -> Pages {
    let ended = |number| page().variant("Notice", 1).variant("Reason", number);
    vec![
        ("ended: version", ended(0)),
        ("ended: malformed", ended(1)),
        ("ended: login failed", ended(2).raw("tries", &[3]).raw("limit", &[20])),
        ("ended: wait", ended(3).number("seconds", 3_600)),
        ("ended: suspended", ended(4)),
        ("ended: no session", ended(5)),
        ("ended: invitation used", ended(6)),
        ("ended: invitation expired", ended(7)),
        ("ended: no service", ended(8)),
        ("ended: upstream away", ended(9)),
        ("ended: upstream hangs", ended(10)),
        ("ended: busy", ended(11)),
        ("ended: fault", ended(12)),
        ("ended: signed off", ended(13)),
        ("ended: expired", ended(14)),
        ("ended: idle", ended(15)),
        ("ended: revoked", ended(16)),
        ("ended: shutting down", ended(17)),
    ]
}

fn tunnels() -> Pages {
    let open = |number| page().variant("Target", number);
    vec![
        ("T open a service", open(0).string("name", b"db")),
        ("T open an upstream", open(1).string("host and port", b"10.0.0.5:5432")),
        ("T open a direct service", open(2).string("name", b"db").v4("the client's address", [198, 51, 100, 1], 443)),
        ("T open a direct service, IPv6", open(2).string("name", b"db").v6("the client's address")),
        ("T open a UDP service", open(3).string("name", b"dns")),
        ("T opened", page().variant("Opened", 0)),
        ("T not opened", page().variant("Opened", 1).variant("Reason", 9)),
        ("T opened, direct", page().variant("Opened", 2).number("port", 2_222)),
    ]
}
