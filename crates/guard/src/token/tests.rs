//! What opens, and everything that doesn't.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;
use vestibule_policy::web::{Allowance, Methods, PathPattern};
use zeroize::Zeroizing;

const HOUR: Duration = Duration::from_secs(3_600);
const NOW: Stamp = Stamp(1_800_000_000_000);
const SETTINGS: KeyringSettings =
    KeyringSettings { rotate_every: HOUR, page_lifetime: Duration::from_secs(12 * 3_600) };

static APP: LazyLock<AppName> = LazyLock::new(|| AppName::new("orders").unwrap());

pub(super) fn page(issued: Stamp) -> Page {
    Page {
        user: UserName::new("alice").unwrap(),
        serial: Serial(7),
        issued,
        source: source_of("GET", "orders.example", "/"),
        grants: SealedGrants::Reference(grants(3).id()),
    }
}

pub(super) fn context(app: &AppName) -> Context<'_> {
    let address = LogicalAddress(IpAddr::V6(Ipv6Addr::new(0xfd00, 1, 2, 3, 4, 5, 6, 7)));
    Context { address, binding: Binding([5; 32]), started: NOW.before(HOUR), app }
}

/// A set of so many rules.
fn grants(rules: usize) -> GrantSet {
    let pattern = |n| PathPattern::parse(&format!("/reports/of/department-{n}/**")).unwrap();
    let rule = |n| Allowance { methods: Methods::Reads, paths: vec![pattern(n)], files: vec![] };
    GrantSet::only((0..rules).map(rule).collect())
}

fn key(id: u32, made: Stamp) -> KeyRecord {
    KeyRecord { id, made, secret: Zeroizing::new([u8::try_from(id).unwrap(); 32]) }
}

fn ring() -> Keyring {
    Keyring::new(SETTINGS, &key(1, NOW), &[])
}

fn sealed() -> PageToken {
    ring().seal(&page(NOW), &context(&APP), [9; NONCE_LEN])
}

#[test]
fn a_page_comes_back() {
    for rules in [0, 1, 3] {
        let page = Page { grants: SealedGrants::Inline(grants(rules)), ..page(NOW) };
        let token = ring().seal(&page, &context(&APP), [9; NONCE_LEN]);
        assert_eq!(ring().open(token.as_str(), &context(&APP), NOW), Ok(page));
        assert_eq!(token.to_string(), token.as_str());
    }
}

#[test]
fn no_token_is_longer_than_allowed() {
    let user = UserName::new(&"u".repeat(64)).unwrap();
    let mut named = 0;
    for rules in 0..40 {
        let page = Page { user: user.clone(), grants: SealedGrants::Inline(grants(rules)), ..page(NOW) };
        let token = ring().seal(&page, &context(&APP), [9; NONCE_LEN]);
        assert!(token.as_str().len() <= TOKEN_LONGEST, "{rules}: {}", token.as_str().len());
        match ring().open(token.as_str(), &context(&APP), NOW).unwrap().grants {
            SealedGrants::Inline(back) => assert_eq!(back, grants(rules)),
            SealedGrants::Reference(id) => {
                assert_eq!(id, grants(rules).id());
                named += 1;
            }
        }
    }
    assert!((10..40).contains(&named), "{named}");
}

#[test]
fn another_session_application_or_client_opens_nothing() {
    let (token, own) = (sealed(), context(&APP));
    let billing = AppName::new("billing").unwrap();
    let short = AppName::new("order").unwrap();
    for other in [
        Context { address: LogicalAddress(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))), ..own },
        Context { binding: Binding([6; 32]), ..own },
        Context { started: Stamp(own.started.0 + 1), ..own },
        Context { app: &billing, ..own },
        Context { app: &short, ..own },
    ] {
        assert_eq!(ring().open(token.as_str(), &other, NOW), Err(TokenError::Foreign));
    }
}

#[test]
fn another_key_opens_nothing() {
    let other = KeyRecord { secret: Zeroizing::new([77; 32]), ..key(1, NOW) };
    let other = Keyring::new(SETTINGS, &other, &[]);
    assert_eq!(other.open(sealed().as_str(), &context(&APP), NOW), Err(TokenError::Foreign));
    let unknown = Keyring::new(SETTINGS, &key(2, NOW), &[]).seal(&page(NOW), &context(&APP), [9; NONCE_LEN]);
    assert_eq!(ring().open(unknown.as_str(), &context(&APP), NOW), Err(TokenError::Foreign));
}

#[test]
fn an_old_key_opens_until_its_last_page_has_expired() {
    let mut ring = ring();
    let last = NOW.after(HOUR);
    let token = ring.seal(&page(last), &context(&APP), [9; NONCE_LEN]);
    assert!(ring.is_due(last) && ring.poll_timeout() == last);
    assert_eq!(ring.rotate(&key(2, last)), 1);
    for hours in 2..13 {
        let now = NOW.after(hours * HOUR);
        assert_eq!(ring.open(token.as_str(), &context(&APP), now), Ok(page(last)), "{hours}");
        let kept = ring.rotate(&key(hours + 1, now));
        assert_eq!(kept, 1, "{hours}");
    }
    let end = last.after(SETTINGS.page_lifetime);
    assert_eq!(ring.open(token.as_str(), &context(&APP), end), Err(TokenError::Expired));
    assert_eq!(ring.rotate(&key(14, end)), 2);
    assert_eq!(ring.open(token.as_str(), &context(&APP), end), Err(TokenError::Expired));
    assert_eq!(ring.open(token.as_str(), &context(&APP), last), Err(TokenError::Expired), "its key is gone for good");
}

#[test]
fn the_keyring_is_bounded_whatever_the_settings() {
    let settings = KeyringSettings { rotate_every: Duration::ZERO, page_lifetime: Duration::from_secs(3_200) };
    let mut ring = Keyring::new(settings, &key(1, NOW), &[]);
    assert_eq!(ring.poll_timeout(), NOW.after(Duration::from_secs(100)));
    for id in 2..200 {
        let oldest = ring.rotate(&key(id, NOW));
        assert!(id - oldest <= 33, "{id} {oldest}");
    }
}

#[test]
fn a_key_from_the_future_is_replaced_and_pages_from_there_are_refused() {
    let (early, slack) = (NOW.before(HOUR), CLOCK_SLACK);
    assert!(ring().is_due(early));
    assert!(!ring().is_due(NOW.before(slack)));
    let open = |now| ring().open(sealed().as_str(), &context(&APP), now);
    assert_eq!(open(early), Err(TokenError::Future));
    assert_eq!(open(NOW.before(slack + Duration::from_millis(1))), Err(TokenError::Future));
    assert_eq!(open(NOW.before(slack)), Ok(page(NOW)));
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let token = URL_SAFE_NO_PAD.decode(sealed().as_str()).unwrap();
    for bit in 0..8 * token.len() {
        let mut altered = token.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let text = URL_SAFE_NO_PAD.encode(&altered);
        assert!(ring().open(&text, &context(&APP), NOW).is_err(), "bit {bit}");
    }
    let text = sealed().as_str().to_owned();
    for length in 0..text.len() {
        assert!(ring().open(&text[..length], &context(&APP), NOW).is_err(), "{length} characters");
    }
}

#[test]
fn other_text_is_malformed() {
    let token = sealed().as_str().to_owned();
    let long = "A".repeat(TOKEN_LONGEST + 1);
    let padded = format!("{token}=");
    let standard = token.replace(['-', '_'], "+");
    for text in ["", "A", "AQ", ".", "AAAA", &long, &padded, &format!("{token} "), &format!("+{standard}")] {
        assert_eq!(ring().open(text, &context(&APP), NOW), Err(TokenError::Malformed), "{text}");
    }
}

#[test]
fn two_pages_alike_look_different_and_say_nothing() {
    let other = ring().seal(&page(NOW), &context(&APP), [8; NONCE_LEN]);
    assert_ne!(sealed(), other);
    assert!(!format!("{other:?}").contains(&other.as_str()[..8]));
    let bytes = URL_SAFE_NO_PAD.decode(other.as_str()).unwrap();
    assert!(!bytes.windows(5).any(|window| window == b"alice"));
}

#[test]
fn every_part_of_an_address_counts() {
    let source = source_of("GET", "orders.example", "/a?b");
    for (method, host, path) in [
        ("POST", "orders.example", "/a?b"),
        ("GET", "orders.example:1", "/a?b"),
        ("GET", "orders.example", "/a?c"),
        ("GET", "orders.example/", "a?b"),
        ("GETo", "rders.example", "/a?b"),
    ] {
        assert_ne!(source_of(method, host, path), source);
    }
    assert_eq!(source_of("GET", "orders.example", "/a?b"), source);
}

proptest! {
    #[test]
    fn any_page_comes_back_to_its_session_alone(
        user in "[a-z0-9]([a-z0-9._@-]{0,62}[a-z0-9])?",
        serial: u64,
        source: [u8; 16],
        rules in 0_usize..12,
        nonce: [u8; NONCE_LEN],
        binding: [u8; 32],
        address: u128,
        app in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        altered in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let app = AppName::new(&app).unwrap();
        let address = LogicalAddress(IpAddr::V6(address.into()));
        let context = Context { address, binding: Binding(binding), started: NOW, app: &app };
        let user = UserName::new(&user).unwrap();
        let page = Page { user, serial: Serial(serial), issued: NOW, source, grants: SealedGrants::Reference(grants(rules).id()) };
        let token = ring().seal(&page, &context, nonce);
        prop_assert_eq!(ring().open(token.as_str(), &context, NOW), Ok(page));

        let mut other = binding;
        other[altered.index(32)] ^= 1 << bit;
        let other = Context { binding: Binding(other), ..context };
        prop_assert_eq!(ring().open(token.as_str(), &other, NOW), Err(TokenError::Foreign));
    }

    #[test]
    fn any_text_is_refused(text in "\\PC{0,600}") {
        prop_assert!(ring().open(&text, &context(&APP), NOW).is_err());
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(ring().open(&URL_SAFE_NO_PAD.encode(bytes), &context(&APP), NOW).is_err());
    }
}
