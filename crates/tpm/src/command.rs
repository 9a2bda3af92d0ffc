//! The commands that are sent (part 3), and the templates of the two kinds of objects.

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::wire::Writer;

const ALG_AES: u16 = 0x0006;
const ALG_KEYEDHASH: u16 = 0x0008;
pub(crate) const ALG_SHA256: u16 = 0x000b;
const ALG_NULL: u16 = 0x0010;
const ALG_ECC: u16 = 0x0023;
const ALG_CFB: u16 = 0x0043;
const CURVE_P256: u16 = 0x0003;

const RH_OWNER: u32 = 0x4000_0001;
const RH_NULL: u32 = 0x4000_0007;
/// TPM_RS_PW: an authorisation by the auth value itself; ours is the empty one of owner and parent.
const RS_PW: u32 = 0x4000_0009;

const FIXED_TPM: u32 = 1 << 1;
const FIXED_PARENT: u32 = 1 << 4;
const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
const USER_WITH_AUTH: u32 = 1 << 6;
/// Wrong auth values are not counted.
const NO_DA: u32 = 1 << 10;
const RESTRICTED: u32 = 1 << 16;
const DECRYPT: u32 = 1 << 17;

/// A command code (part 2, section 6.5.2) with the name that a person reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) number: u32,
    pub(crate) name: &'static str,
}

pub(crate) const CREATE_PRIMARY: Code = Code { number: 0x0131, name: "CreatePrimary" };
pub(crate) const CREATE: Code = Code { number: 0x0153, name: "Create" };
pub(crate) const LOAD: Code = Code { number: 0x0157, name: "Load" };
pub(crate) const UNSEAL: Code = Code { number: 0x015e, name: "Unseal" };
pub(crate) const FLUSH_CONTEXT: Code = Code { number: 0x0165, name: "FlushContext" };
pub(crate) const START_AUTH_SESSION: Code = Code { number: 0x0176, name: "StartAuthSession" };
pub(crate) const GET_CAPABILITY: Code = Code { number: 0x017a, name: "GetCapability" };

/// A command as it goes out.
pub(crate) struct Command {
    pub(crate) code: Code,
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// Whether the answer begins with a handle.
    pub(crate) answers_handle: bool,
    /// Whether the answer ends with an area of authorisations.
    pub(crate) with_sessions: bool,
}

/// One authorisation of a command (TPMS_AUTH_COMMAND).
pub(crate) struct Authorisation<'a> {
    pub(crate) session: u32,
    pub(crate) nonce: &'a [u8],
    pub(crate) attributes: u8,
    pub(crate) hmac: &'a [u8],
}

/// The empty auth value.
const EMPTY: Authorisation<'static> = Authorisation { session: RS_PW, nonce: &[], attributes: 0, hmac: &[] };

/// A command of a handle at most and an authorisation at most.
pub(crate) fn command(code: Code, handles: &[u32], auth: Option<&Authorisation<'_>>, parameters: &[u8]) -> Command {
    let mut body = Writer::new();
    for handle in handles {
        body = body.u32(*handle);
    }
    if let Some(auth) = auth {
        let area = Writer::new().u32(auth.session).sized(auth.nonce).u8(auth.attributes).sized(auth.hmac).finish();
        body = body.u32(length(&area)).bytes(&area);
    }
    let body = body.bytes(parameters).finish();
    let tag = if auth.is_some() { 0x8002 } else { 0x8001 };
    let head = Writer::new().u16(tag).u32(10 + length(&body)).u32(code.number);
    let answers_handle = [CREATE_PRIMARY, LOAD, START_AUTH_SESSION].contains(&code);
    Command { code, bytes: head.bytes(&body).finish(), answers_handle, with_sessions: auth.is_some() }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// The parent of all that we seal: the ECC storage key of the TCG's profile, in the owner's hierarchy. One seed, one key.
pub(crate) fn create_primary() -> Command {
    let parameters = Writer::new().sized(&[0; 4]).sized(&parent_public(&[0; 32], &[0; 32])).u16(0).u32(0).finish();
    command(CREATE_PRIMARY, &[RH_OWNER], Some(&EMPTY), &parameters)
}

/// TPMT_PUBLIC of the parent with this point; as a template the point is zeros.
pub(crate) fn parent_public(x: &[u8], y: &[u8]) -> Zeroizing<Vec<u8>> {
    let attributes = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | USER_WITH_AUTH | NO_DA | RESTRICTED | DECRYPT;
    let head = Writer::new().u16(ALG_ECC).u16(ALG_SHA256).u32(attributes).u16(0);
    let symmetric = head.u16(ALG_AES).u16(128).u16(ALG_CFB);
    symmetric.u16(ALG_NULL).u16(CURVE_P256).u16(ALG_NULL).sized(x).sized(y).finish()
}

/// TPMT_PUBLIC of a sealed object with this `unique` (empty as a template). `counted`: wrong auth values count in the TPM's
/// lock-out.
pub(crate) fn sealed_public(counted: bool, unique: &[u8]) -> Zeroizing<Vec<u8>> {
    let attributes = FIXED_TPM | FIXED_PARENT | USER_WITH_AUTH | if counted { 0 } else { NO_DA };
    Writer::new().u16(ALG_KEYEDHASH).u16(ALG_SHA256).u32(attributes).u16(0).u16(ALG_NULL).sized(unique).finish()
}

/// The name of an object (part 1, section 16): algorithm, and digest of its public area.
pub(crate) fn name(public: &[u8]) -> [u8; 34] {
    let mut name = [0; 34];
    name[..2].copy_from_slice(&ALG_SHA256.to_be_bytes());
    name[2..].copy_from_slice(&Sha256::digest(public));
    name
}

/// TPM2B_SENSITIVE_CREATE without its length.
pub(crate) fn sensitive(auth: &[u8], data: &[u8]) -> Zeroizing<Vec<u8>> {
    Writer::new().sized(auth).sized(data).finish()
}

/// Parameters of `Create`, `sensitive` as it goes over the bus.
pub(crate) fn create_parameters(sensitive: &[u8], public: &[u8]) -> Zeroizing<Vec<u8>> {
    Writer::new().sized(sensitive).sized(public).u16(0).u32(0).finish()
}

pub(crate) fn load(parent: u32, private: &[u8], public: &[u8]) -> Command {
    command(LOAD, &[parent], Some(&EMPTY), &Writer::new().sized(private).sized(public).finish())
}

/// An HMAC session, salted to the parent by `point` (TPMS_ECC_POINT of an ephemeral key), not bound.
pub(crate) fn start_session(parent: u32, nonce: &[u8], point: &[u8]) -> Command {
    let parameters = Writer::new().sized(nonce).sized(point).u8(0).u16(ALG_AES).u16(128).u16(ALG_CFB).u16(ALG_SHA256);
    command(START_AUTH_SESSION, &[parent, RH_NULL], None, &parameters.finish())
}

/// The handle is a parameter here (part 3, section 28.4).
pub(crate) fn flush(handle: u32) -> Command {
    command(FLUSH_CONTEXT, &[], None, &handle.to_be_bytes())
}

/// `count` properties from `first` on.
pub(crate) fn properties(first: u32, count: u32) -> Command {
    const CAP_TPM_PROPERTIES: u32 = 6;
    let parameters = Writer::new().u32(CAP_TPM_PROPERTIES).u32(first).u32(count).finish();
    command(GET_CAPABILITY, &[], None, &parameters)
}
