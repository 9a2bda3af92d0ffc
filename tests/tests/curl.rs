//! curl through the SOCKS5 proxy, the HTTP proxy, and a service's own name.

use vestibule_lab::{Fixture, Result, Service, Upstream};
use vestibule_scenarios::installed;

#[test]
fn curl_reaches_a_web_service_in_every_way() -> Result<()> {
    let fixture = Fixture::start()?;
    let inside = fixture.network.host("inside")?;
    let web = Upstream::web(&inside, fixture.dir())?;
    fixture.add_service("wiki", Service::Web(web.address()), &["everyone"])?;
    let alice = fixture.add_person("alice", &[])?;
    let _up = alice.up(&["--http=127.0.0.1:8118", "--socks=127.0.0.1:1080"])?;
    let curl = installed("curl", "curl")?;
    let upstream = web.address().to_string();

    let ways: [&[&str]; 6] = [
        &["http://wiki.localhost:8118/"],
        &["--socks5-hostname", "127.0.0.1:1080", "http://wiki/"],
        &["--socks5-hostname", "127.0.0.1:1080", &format!("http://{upstream}/")],
        &["--proxy", "http://127.0.0.1:8118", "http://wiki/"],
        &["--proxy", "http://127.0.0.1:8118", &format!("http://{upstream}/")],
        &["--proxy", "http://127.0.0.1:8118", "--proxytunnel", "http://wiki/"],
    ];
    for way in ways {
        let ran = alice.host.command(&curl).args(["-sS", "--fail", "--max-time", "20"]).args(way).run()?;
        ran.ok()?.says("Vestibule lab")?;
    }

    let size = 10_000_000.to_string();
    let url = format!("http://wiki.localhost:8118/bytes/{size}");
    let ran =
        alice.host.command(&curl).args(["-sS", "--fail", "-o", "/dev/null", "-w", "%{size_download}", &url]).run()?;
    assert_eq!(ran.ok()?.out(), size);
    Ok(())
}

#[test]
fn what_is_no_service_is_refused_in_every_way() -> Result<()> {
    let (fixture, alice) = Fixture::with_person("alice")?;
    let inside = fixture.network.host("inside")?;
    let web = Upstream::web(&inside, fixture.dir())?;
    let _up = alice.up(&["--http=127.0.0.1:8118", "--socks=127.0.0.1:1080"])?;
    let curl = installed("curl", "curl")?;
    let upstream = format!("http://{}/", web.address());
    let ways: [&[&str]; 4] = [
        &["http://wiki.localhost:8118/"],
        &["http://127.0.0.1:8118/"],
        &["--socks5-hostname", "127.0.0.1:1080", &upstream],
        &["--proxy", "http://127.0.0.1:8118", "--proxytunnel", &upstream],
    ];
    for way in ways {
        let ran = alice.host.command(&curl).args(["-sS", "--fail", "--max-time", "20"]).args(way).run()?;
        assert_ne!(ran.code(), Some(0), "{way:?} said {}", ran.out());
    }
    assert_eq!(web.accepted(), 0);
    Ok(())
}
