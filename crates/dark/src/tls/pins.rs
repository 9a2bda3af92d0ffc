//! Verifiers that compare the peer's raw public key with pins, in constant time, and nothing else.

use quinn::rustls;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature_with_raw_key;
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme};
use subtle::{Choice, ConstantTimeEq};
use vestibule_proto::key::Spki;

use super::{ClientPins, provider};

/// A client's look at its server.
#[derive(Debug)]
pub(super) struct PinnedServers(Vec<Spki>);

impl PinnedServers {
    pub(super) fn new(pins: &[Spki]) -> Self {
        Self(pins.to_vec())
    }
}

impl ServerCertVerifier for PinnedServers {
    fn verify_server_cert(
        &self,
        presented: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        is_one_of(presented, more, &self.0).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        presented: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, presented, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// A server's look at its client.
#[derive(Debug)]
pub(super) struct PinnedClients(ClientPins);

impl PinnedClients {
    pub(super) fn new(pins: ClientPins) -> Self {
        Self(pins)
    }
}

impl ClientCertVerifier for PinnedClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        presented: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.0 {
            ClientPins::Exact(pin) => is_one_of(presented, more, &[pin]),
            ClientPins::AnyPresented => {
                Spki::from_der(presented).filter(|_| more.is_empty()).map(|_| ()).ok_or_else(not_pinned)
            }
        }
        .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        presented: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, presented, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Whether exactly one key was presented and it is one of the pins. Looks at every pin, whichever fits.
fn is_one_of(presented: &CertificateDer<'_>, more: &[CertificateDer<'_>], pins: &[Spki]) -> Result<(), Error> {
    let equals = |pin: &Spki| pin.as_bytes().as_slice().ct_eq(presented.as_ref());
    let pinned = pins.iter().map(equals).fold(Choice::from(0), |any, this| any | this);
    if more.is_empty() && bool::from(pinned) { Ok(()) } else { Err(not_pinned()) }
}

fn not_pinned() -> Error {
    Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
}

fn verify_signature(
    message: &[u8],
    presented: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let spki = SubjectPublicKeyInfoDer::from(presented.as_ref());
    verify_tls13_signature_with_raw_key(message, &spki, signature, &provider().signature_verification_algorithms)
}

#[cfg(test)]
mod tests {
    use vestibule_proto::entropy::SeededEntropy;
    use vestibule_proto::key::SigningKey;

    use super::*;

    fn spki(number: u64) -> Spki {
        SigningKey::random(&mut SeededEntropy::new(number)).spki()
    }

    fn presented(spki: Spki) -> CertificateDer<'static> {
        CertificateDer::from(spki.as_bytes().to_vec())
    }

    #[test]
    fn any_of_the_pins_will_do_and_nothing_else() {
        let pins = [spki(1), spki(2)];
        assert!(is_one_of(&presented(spki(1)), &[], &pins).is_ok());
        assert!(is_one_of(&presented(spki(2)), &[], &pins).is_ok());
        assert_eq!(is_one_of(&presented(spki(3)), &[], &pins), Err(not_pinned()));
        assert_eq!(is_one_of(&presented(spki(1)), &[], &[]), Err(not_pinned()));
        assert_eq!(is_one_of(&presented(spki(1)), &[presented(spki(1))], &pins), Err(not_pinned()), "two keys");
        let longer = CertificateDer::from([spki(1).as_bytes().as_slice(), &[0]].concat());
        assert_eq!(is_one_of(&longer, &[], &pins), Err(not_pinned()));
    }

    #[test]
    fn any_presented_means_any_ed25519_key() {
        let verifier = PinnedClients::new(ClientPins::AnyPresented);
        let verify = |presented: &CertificateDer<'_>| verifier.verify_client_cert(presented, &[], UnixTime::now());
        assert!(verify(&presented(spki(1))).is_ok());
        assert!(verify(&CertificateDer::from(vec![0x30; 44])).is_err());
        assert!(verify(&CertificateDer::from(vec![])).is_err());
    }
}
