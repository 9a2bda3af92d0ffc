use super::*;

fn passage() -> Passage {
    Passage {
        knock: Some(Duration::from_micros(1_640)),
        seen: Some("198.51.100.7:4242".parse().unwrap()),
        window: Duration::from_secs(10),
        gateway: Some((Duration::from_millis(2), "192.0.2.1:443".parse().unwrap())),
        login: Some(Duration::from_millis(3)),
        service: Some(Duration::from_micros(400)),
        ..Passage::default()
    }
}

fn outcomes(findings: &[Finding]) -> String {
    let letter = |finding: &Finding| match finding.outcome {
        Outcome::Good => 'g',
        Outcome::Failed => 'F',
        Outcome::NotTried => '-',
    };
    findings.iter().map(letter).collect()
}

fn refused(why: Refused) -> ClientError {
    ClientError::Refused { why, tries: 1, limit: 20, retry_after: Duration::ZERO, detail: String::new() }
}

fn credential(trouble: CredentialTrouble) -> ClientError {
    ClientError::Credential { trouble, path: "/somewhere".to_owned() }
}

#[test]
fn a_connect_that_came_about_is_good_at_every_step() {
    assert_eq!(outcomes(&findings(&passage(), None, Ok(()))), "ggggggg");
    let found = findings(&passage(), Some("db"), Ok(()));
    assert_eq!(outcomes(&found), "gggggggg");
    let said: Vec<&str> = found.iter().map(|finding| finding.said.as_str()).collect();
    assert!(said[2].contains("1.6 ms"), "{said:?}");
    assert!(said[4].ends_with("seen at 198.51.100.7:4242"), "{said:?}");
    assert_eq!((said[5], said[7]), ("192.0.2.1:443 answers, 2.0 ms", "'db' opens, 0.4 ms"));
}

#[test]
fn each_trouble_has_its_step_and_nothing_behind_it_was_tried() {
    let nothing = Passage::default();
    let knocked = Passage { gateway: None, login: None, ..passage() };
    let away = |how| ClientError::GatewayAway(how);
    for (error, passage, expected) in [
        (credential(CredentialTrouble::Missing), &nothing, "F-------"),
        (credential(CredentialTrouble::OtherMachineOrUser), &nothing, "F-------"),
        (credential(CredentialTrouble::WrongPassword), &nothing, "gF------"),
        (ClientError::ControllerAway { controllers: Vec::new(), trouble: None }, &nothing, "ggF-----"),
        (ClientError::ClockFarOff { offset_ms: 90_000_000 }, &nothing, "gggF----"),
        (away(GatewayAway::Controller), &nothing, "ggggF---"),
        (away(GatewayAway::Fault), &nothing, "ggggF---"),
        (refused(Refused::Revoked), &nothing, "ggggF---"),
        (refused(Refused::WrongPassword), &nothing, "ggggF---"),
        (ClientError::Busy, &nothing, "ggggF---"),
        (away(GatewayAway::Dial), &knocked, "gggggF--"),
        (away(GatewayAway::WrongKey), &knocked, "gggggF--"),
        (ClientError::Unexpected { what: String::new() }, &knocked, "gggggF--"),
        (ClientError::LoginFailed { tries: 1, limit: 20 }, &passage(), "ggggggF-"),
        (refused(Refused::Wait), &passage(), "ggggggF-"),
        (ClientError::NoService { asked: "db".to_owned() }, &passage(), "gggggggF"),
        (ClientError::UpstreamAway { service: "db".to_owned() }, &passage(), "gggggggF"),
        (ClientError::Busy, &passage(), "gggggggF"),
    ] {
        let found = findings(passage, Some("db"), Err(&error));
        assert_eq!(outcomes(&found), expected, "{error:?}");
        let failed = found.iter().find(|finding| finding.outcome == Outcome::Failed).unwrap();
        assert_eq!(failed.said, error.headline());
    }
}

#[test]
fn a_clock_and_an_address_that_are_odd_are_told_though_all_went_well() {
    let odd = |offset_ms| Passage { clock_offset_ms: offset_ms, address_mismatch: true, ..passage() };
    for (offset_ms, words) in [(3_600_500, "3600 s behind"), (-7_000, "7 s ahead"), (0, "near enough")] {
        let found = findings(&odd(offset_ms), None, Ok(()));
        assert!(found[3].said.contains(words), "{found:?}");
        assert!(found[4].said.contains("no NAT explains it"), "{found:?}");
    }
}

#[test]
fn who_does_not_reach_the_gateway_is_told_the_address_it_opened_for() {
    let dial = ClientError::GatewayAway(GatewayAway::Dial);
    assert!(hint(&passage(), &dial).contains("198.51.100.7:4242"));
    let lied = Passage { address_mismatch: true, ..passage() };
    assert!(hint(&lied, &dial).contains("which is not its address"));
    assert_eq!(hint(&Passage::default(), &dial), "");
    assert_eq!(hint(&passage(), &ClientError::Busy), "");
}
