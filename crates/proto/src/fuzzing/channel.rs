//! The decoders of what is said inside authenticated channels, and of invitations.

use std::sync::LazyLock;

use serde::de::DeserializeOwned;

use crate::entropy::SeededEntropy;
use crate::frame;
use crate::id::{DeviceId, GatewayId, UserName};
use crate::invitation::{GatewayInvitation, Invitation};
use crate::key::Secret;
use crate::login::{
    KsfParams, LoginContext, LoginNames, LoginServer, LoginStart, OpaqueSetup, RegistrationServer, RegistrationStart,
};
use crate::{datagram, enrol, link, session};

static SETUP: LazyLock<OpaqueSetup> = LazyLock::new(|| OpaqueSetup::random(&mut SeededEntropy::new(5)));

/// All messages of OPAQUE, each as its receiver reads it. The first byte chooses which.
pub fn login(data: &[u8]) {
    let Some((choice, message)) = data.split_first() else { return };
    let names = LoginNames {
        user: UserName::parse("alice").expect("a name"),
        gateway: GatewayId::new([1; 16]),
        device: DeviceId::new([2; 16]),
    };
    match choice % 6 {
        0 => drop(RegistrationServer::begin(&SETUP, message, &names)),
        1 => read_registration_response(message, &names),
        2 => drop(RegistrationServer::finish(message)),
        3 => read_ke1(message, &names),
        4 => read_ke2(message, &names),
        _ => read_ke3(message, &names),
    }
}

const CONTEXT: LoginContext = [3; 91];

fn password() -> Secret<32> {
    Secret::new([4; 32])
}

fn least() -> KsfParams {
    KsfParams::new(8, 1, 1).expect("the least that Argon2 computes")
}

fn read_registration_response(message: &[u8], names: &LoginNames) {
    let entropy = &mut SeededEntropy::new(6);
    if let Ok((start, _)) = RegistrationStart::begin(password(), entropy) {
        let _ = start.finish(message, names, &least(), entropy);
    }
}

fn read_ke1(message: &[u8], names: &LoginNames) {
    let _ = LoginServer::begin(&SETUP, None, message, &CONTEXT, names, &mut SeededEntropy::new(6));
}

fn read_ke2(message: &[u8], names: &LoginNames) {
    let entropy = &mut SeededEntropy::new(6);
    if let Ok((start, _)) = LoginStart::begin(password(), entropy) {
        assert!(start.finish(message, &CONTEXT, names, &least(), entropy).is_err(), "nobody registered");
    }
}

fn read_ke3(message: &[u8], names: &LoginNames) {
    let entropy = &mut SeededEntropy::new(6);
    let begun = LoginStart::begin(password(), entropy)
        .and_then(|(_, ke1)| LoginServer::begin(&SETUP, None, &ke1, &CONTEXT, names, entropy));
    if let Ok((expect, _)) = begun {
        assert!(expect.finish(message).is_err(), "nobody registered");
    }
}

/// Frames of a gateway's link (C1, K3, K5), as documents of every kind.
pub fn link_frame(data: &[u8]) {
    let documents = [
        document::<link::Hello>,
        document::<link::Welcome>,
        document::<link::ToController>,
        document::<link::FromController>,
        document::<link::ToGateway>,
        document::<link::Answer>,
    ];
    documents.iter().for_each(|read| read(data));
}

/// Frames of a session's streams (L1-L4, R1, T), as documents of every kind.
pub fn session_frame(data: &[u8]) {
    let documents = [
        document::<session::ClientHello>,
        document::<session::GatewayHello>,
        document::<session::LoginFinish>,
        document::<session::Notice>,
        document::<session::ClientNotice>,
        document::<session::Open>,
        document::<session::Opened>,
    ];
    documents.iter().for_each(|read| read(data));
}

/// Frames of an enrolment (E1), as documents of every kind.
pub fn enrolment_frame(data: &[u8]) {
    let documents = [
        document::<enrol::EnrolStart>,
        document::<enrol::EnrolResponse>,
        document::<enrol::EnrolUpload>,
        document::<enrol::Enrolled>,
        document::<enrol::EnrolConfirm>,
        document::<enrol::EnrolDone>,
    ];
    documents.iter().for_each(|read| read(data));
}

/// A DATAGRAM frame of a flow (T), and the head of a record on its stream.
pub fn datagram_frame(data: &[u8]) {
    if let Ok((flow, payload)) = datagram::decode(data) {
        assert_eq!(datagram::encode(flow, payload).as_deref(), Ok(data), "one encoding");
    }
    if let Some((head, _)) = data.split_first_chunk()
        && let Ok(length) = datagram::record_length(*head)
    {
        assert_eq!(datagram::record_head(length), Ok(*head), "one encoding");
    }
}

fn document<T: DeserializeOwned>(data: &[u8]) {
    let _ = frame::decode::<T>(data);
    if let Some((head, _)) = data.split_first_chunk() {
        let _ = frame::document_length(*head);
    }
}

/// Invitation links, of persons and of gateways.
pub fn invitation(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        let _ = Invitation::from_link(text).map(|invitation| invitation.keys());
        let _ = GatewayInvitation::from_link(text).map(|invitation| invitation.keys());
    }
}
