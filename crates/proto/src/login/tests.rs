use super::*;
use crate::entropy::SeededEntropy;
use crate::id::{DeviceId, GatewayId, TicketId, UserName};

/// The least that Argon2 computes.
fn light() -> KsfParams {
    KsfParams::new(8, 1, 1).unwrap()
}

struct World {
    entropy: SeededEntropy,
    setup: OpaqueSetup,
    names: LoginNames,
    context: LoginContext,
    ksf: KsfParams,
}

impl World {
    fn new() -> Self {
        let mut entropy = SeededEntropy::new(3);
        let names = LoginNames {
            user: UserName::parse("alice").unwrap(),
            gateway: GatewayId::random(&mut entropy),
            device: DeviceId::random(&mut entropy),
        };
        let context = login_context(1, &[1; 32], &[2; 32], TicketId::new([3; 8]));
        Self { setup: OpaqueSetup::random(&mut entropy), entropy, names, context, ksf: light() }
    }

    fn register(&mut self, password: &[u8; 32]) -> [u8; RECORD_LEN] {
        let (start, request) = RegistrationStart::begin(Secret::new(*password), &mut self.entropy).unwrap();
        assert_eq!(request.len(), 32);
        let response = RegistrationServer::begin(&self.setup, &request, &self.names).unwrap();
        assert_eq!(response.len(), 64);
        let upload = start.finish(&response, &self.names, &self.ksf, &mut self.entropy).unwrap();
        RegistrationServer::finish(&upload).unwrap()
    }

    /// A login in which the client has `client` for its world, the gateway this one.
    fn login(&mut self, client: &Client, record: Option<&[u8]>) -> Result<(), LoginError> {
        let (start, ke1) = LoginStart::begin(Secret::new(client.password), &mut self.entropy).unwrap();
        let (expect, ke2) =
            LoginServer::begin(&self.setup, record, &ke1, &self.context, &self.names, &mut self.entropy)?;
        assert_eq!((ke1.len(), ke2.len()), (KE1_LEN, KE2_LEN));
        let (ke3, key) = start.finish(&ke2, &client.context, &client.names, &client.ksf, &mut self.entropy)?;
        assert_eq!(ke3.len(), KE3_LEN);
        let gateway_key = expect.finish(&ke3)?;
        assert!(key == gateway_key);
        Ok(())
    }

    fn client(&self, password: [u8; 32]) -> Client {
        Client { password, context: self.context, names: self.names.clone(), ksf: self.ksf }
    }
}

struct Client {
    password: [u8; 32],
    context: LoginContext,
    names: LoginNames,
    ksf: KsfParams,
}

#[test]
fn the_right_password_logs_in() {
    let mut world = World::new();
    let record = world.register(&[7; 32]);
    let client = world.client([7; 32]);
    assert_eq!(world.login(&client, Some(&record)), Ok(()));
}

#[test]
fn the_standard_stretching_is_used_at_both_ends() {
    let mut world = World::new();
    world.ksf = KsfParams::STANDARD;
    let record = world.register(&[7; 32]);
    let client = world.client([7; 32]);
    assert_eq!(world.login(&client, Some(&record)), Ok(()));
    assert_eq!(world.login(&Client { ksf: light(), ..client }, Some(&record)), Err(LoginError::WrongPassword));
}

#[test]
fn a_wrong_password_and_an_unknown_user_look_alike() {
    let mut world = World::new();
    let record = world.register(&[7; 32]);
    let client = world.client([8; 32]);
    assert_eq!(world.login(&client, Some(&record)), Err(LoginError::WrongPassword));
    assert_eq!(world.login(&client, None), Err(LoginError::WrongPassword));
}

#[test]
fn a_login_holds_for_its_channel_names_and_stretching_only() {
    let mut world = World::new();
    let record = world.register(&[7; 32]);
    let client = world.client([7; 32]);
    let names =
        |user: &str, gateway| LoginNames { user: UserName::parse(user).unwrap(), gateway, device: client.names.device };
    let others = [
        Client { context: login_context(1, &[1; 32], &[2; 32], TicketId::new([4; 8])), ..world.client([7; 32]) },
        Client { context: login_context(1, &[9; 32], &[2; 32], TicketId::new([3; 8])), ..world.client([7; 32]) },
        Client { context: login_context(2, &[1; 32], &[2; 32], TicketId::new([3; 8])), ..world.client([7; 32]) },
        Client { names: names("bob", client.names.gateway), ..world.client([7; 32]) },
        Client { names: names("alice", GatewayId::new([0; 16])), ..world.client([7; 32]) },
        Client { ksf: KsfParams::new(16, 1, 1).unwrap(), ..world.client([7; 32]) },
    ];
    for (number, other) in others.iter().enumerate() {
        assert_eq!(world.login(other, Some(&record)), Err(LoginError::WrongPassword), "variant {number}");
    }
    // The device is the gateway's part of the credential identifier: a record of one device is none of another.
    world.names.device = DeviceId::new([0; 16]);
    assert_eq!(world.login(&client, Some(&record)), Err(LoginError::WrongPassword));
}

#[test]
fn the_setup_survives_storage() {
    let mut world = World::new();
    let record = world.register(&[7; 32]);
    world.setup = OpaqueSetup::from_bytes(&world.setup.to_bytes().unwrap()).unwrap();
    let client = world.client([7; 32]);
    assert_eq!(world.login(&client, Some(&record)), Ok(()));
    assert_eq!(OpaqueSetup::from_bytes(&Secret::new([0; 128])).err(), Some(LoginError::DamagedRecord));
}

#[test]
fn an_altered_proof_is_refused() {
    let mut world = World::new();
    let record = world.register(&[7; 32]);
    for position in 0..KE3_LEN {
        let (start, ke1) = LoginStart::begin(Secret::new([7; 32]), &mut world.entropy).unwrap();
        let (context, names) = (world.context, world.names.clone());
        let (expect, ke2) =
            LoginServer::begin(&world.setup, Some(&record), &ke1, &context, &names, &mut world.entropy).unwrap();
        let (mut ke3, _) = start.finish(&ke2, &context, &names, &light(), &mut world.entropy).unwrap();
        ke3[position] ^= 1;
        assert_eq!(expect.finish(&ke3).err(), Some(LoginError::WrongPassword), "byte {position}");
    }
}

#[test]
fn damaged_storage_is_not_the_peers_fault() {
    let mut world = World::new();
    let record = world.register(&[7; 32]);
    let client = world.client([7; 32]);
    assert_eq!(world.login(&client, Some(&record[1..])), Err(LoginError::DamagedRecord));
    assert_eq!(world.login(&client, Some(&[0xff; RECORD_LEN])), Err(LoginError::DamagedRecord));
}

#[test]
fn the_input_depends_on_pepper_and_password() {
    let input = |pepper: u8, password: &str| password_input(&Secret::new([pepper; 32]), password.as_bytes());
    assert!(input(1, "correct horse") == input(1, "correct horse"));
    assert!(input(1, "correct horse") != input(2, "correct horse"));
    assert!(input(1, "correct horse") != input(1, "correct house"));
}
