//! Over a tunnel: the names by which a browser may mean the application, and those by which somebody else leads it here.

use crate::world::{World, config, settings};
use vestibule_guard::UpstreamSettings;

#[tokio::test]
async fn a_foreign_name_that_leads_into_a_tunnel_reaches_nothing() {
    let world = World::new().await;
    let mut browser = world.tunnel("alice", 1);
    for host in [
        "evil.example:9000",
        "evil.example",
        "orders.localhost.evil.example",
        "orders.evil.example",
        "evil.localhost",
        "x.orders.localhost",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "0.0.0.0:9000",
        "10.0.0.8:9000",
        "[fd00::1]:9000",
    ] {
        browser.host = host.to_owned();
        assert_eq!(browser.page("/page").await.status, 421, "{host}");
        assert_eq!(browser.page("/.vestibule/").await.status, 421, "{host}: nor anything of the guard's own");
        assert_eq!(browser.order("/orders", "token", "a=1").await.status, 421, "{host}");
    }
    assert!(world.guard.sessions().is_empty(), "no session has begun");
    assert!(world.app.seen().is_empty(), "the application has seen nothing");
}

#[tokio::test]
async fn a_name_of_its_own_a_local_port_and_the_upstreams_address_lead_to_the_application() {
    let world = World::new().await;
    let mut browser = world.tunnel("alice", 1);
    for host in [
        "orders.localhost",
        "Orders.localhost.:9000",
        "orders",
        "orders:80",
        "localhost:9000",
        "127.0.0.1:9000",
        "127.1.2.3",
        "[::1]:9000",
    ] {
        browser.host = host.to_owned();
        let token = browser.token("/page").await;
        assert_eq!(browser.order("/orders", &token, "a=1").await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn configured_hosts_and_the_upstreams_own_name_lead_to_the_application() {
    let world = World::new().await;
    let mut settings = settings(&config(serde_json::json!({})), &world.app);
    settings.hosts = vec!["Orders.Example.org".to_owned()];
    let UpstreamSettings::Http(http) = &mut settings.upstream else { panic!("a web server") };
    http.addresses.push("http://App.internal:8000".to_owned());
    http.addresses.push("http://[fd00::8]:8000".to_owned());
    world.guard.set_apps(vec![settings]).unwrap();
    let mut browser = world.tunnel("alice", 1);
    for (host, status) in [
        ("orders.example.org:9000", 200),
        ("app.internal:8000", 200),
        ("[fd00::8]:8000", 200),
        ("example.org", 421),
        ("x.app.internal:8000", 421),
        ("[fd00::9]:8000", 421),
    ] {
        browser.host = host.to_owned();
        assert_eq!(browser.page("/page").await.status, status, "{host}");
    }
}
