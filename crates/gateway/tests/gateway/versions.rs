//! Who speaks later versions only is told so, and nothing else happens.

use std::sync::Arc;

use tokio::net::UdpSocket;
use vestibule_dark::framed::{read_frame, write_frame};
use vestibule_dark::{TransportKind, dial, tls, transport};
use vestibule_proto::entropy::SystemEntropy;
use vestibule_proto::id::{SessionId, Stamp};
use vestibule_proto::inner::Purpose;
use vestibule_proto::invitation::GatewayInvitation;
use vestibule_proto::key::SigningKey;
use vestibule_proto::knocker::{Admitted, Knocker, LinkDevice};
use vestibule_proto::link::{Hello, LinkRefusal, Welcome};
use vestibule_proto::outer::ControllerPin;
use vestibule_proto::session::{ClientHello, GatewayHello, Reason, Wanted};

use crate::common::client::{come_in, now, until_answered};
use crate::common::{ANY, SOON, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_later_versions_is_told_so() {
    let world = World::new().await;
    let device = world.enrol("alice", "right").await;
    for versions in [(2, 300), (0, 0), (2, 1)] {
        let admitted = device.knock(Purpose::Login, None).await.unwrap();
        let (_endpoint, connection) = come_in(&admitted, &device.d_tls, &device.pins).await.unwrap();
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        let purpose = Wanted::Resume { session: SessionId::new([1; 16]), proof: [0; 32] };
        write_frame(&mut send, &ClientHello { versions, purpose }).await.unwrap();
        let answer = tokio::time::timeout(SOON, read_frame(&mut recv)).await.unwrap().unwrap();
        assert!(matches!(answer, GatewayHello::Refused(Reason::Version)), "{versions:?}");
    }
    device.login("right").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_of_later_versions_is_told_so() {
    let mut world = World::new().await;
    let greetings = [
        ((2, 300), Welcome::Refused(LinkRefusal::Version)),
        ((0, 0), Welcome::Refused(LinkRefusal::Version)),
        // It speaks this version, too; it is refused for what else its greeting lacks.
        ((1, 300), Welcome::Refused(LinkRefusal::NotYou)),
    ];
    // One each: a controller that has just started tells its time to a row once a minute.
    let invitations = world.invite_gateways(&["one", "two", "three"]).await;
    for ((versions, expected), invitation) in greetings.into_iter().zip(invitations) {
        assert_eq!(greeting(&world, &invitation, versions).await, expected, "{versions:?}");
    }
}

/// Links with the invitation's keys, and gives what the controller answers to a greeting with these versions.
async fn greeting(world: &World, invitation: &GatewayInvitation, versions: (u16, u16)) -> Welcome {
    let admitted = knock(world, invitation).await;
    let key = SigningKey::random(&mut SystemEntropy);
    let (tag, pins) = (admitted.ticket.tag(0), [invitation.controller_pin]);
    let behaviour = transport(TransportKind::Link);
    let (_endpoint, connection) =
        dial(ANY, world.controller_at, tag, &key, &pins, tls::ALPN_LINK, behaviour).await.unwrap();
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    let (gateway, name) = (invitation.gateway, invitation.name.clone());
    let hello = Hello { versions, gateway, name, addresses: Vec::new(), register: None };
    write_frame(&mut send, &hello).await.unwrap();
    tokio::time::timeout(SOON, read_frame(&mut recv)).await.unwrap().unwrap()
}

async fn knock(world: &World, invitation: &GatewayInvitation) -> Admitted {
    let keys = invitation.keys();
    let controller = ControllerPin { key: invitation.controller_key, realm: invitation.realm.clone() };
    let device = LinkDevice { controller, d_out: keys.d_out, psk_c: keys.psk_c, digest: keys.digest };
    let mut knocker = Knocker::for_link(Arc::new(device), &[world.controller_at], Stamp::default(), now());
    let socket = UdpSocket::bind(ANY).await.unwrap();
    knocker.handle_timeout(now(), &mut SystemEntropy);
    // A controller that has just started wants its own time in a gateway's knock.
    until_answered(&mut knocker, &socket).await.unwrap()
}
