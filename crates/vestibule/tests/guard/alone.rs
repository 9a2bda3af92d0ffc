//! The commands of its owner, and what a browser gets.

use crate::support::*;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[test]
fn two_commands_lead_to_a_guarded_application() {
    let (owner, shop) = (Owner::new(), Shop::open());
    owner.adds("alice");
    let guard = owner.guards(&["--upstream", &shop.address(), "--listen", "127.0.0.1:0", "--name", "orders"]);
    let mut alice = Browser::at(guard.at);
    let login = alice.get("/");
    assert_eq!((login.status, shop.requests.load(Ordering::SeqCst)), (401, 0), "{}", login.body);
    assert_eq!(alice.signs_in("alice", "wrong horse staple"), 401);
    assert_eq!(alice.signs_in("alice", PASSWORD), 303);
    let page = alice.get("/");
    let form = format!(".vestibule={}&item=paper", page.token());
    assert_eq!((alice.post("/orders", &form).status, shop.orders()), (200, 1));
    let again = alice.post("/orders", &form);
    assert_eq!((again.status, shop.orders()), (409, 1), "{}", again.body);
    assert_eq!((alice.post("/orders", "item=paper").status, shop.orders()), (403, 1));
    audited(&owner);
    counted(&owner);
    let sessions = owner.json(&["guard", "session", "list"]);
    assert_eq!((sessions.as_array().unwrap().len(), &sessions[0]["user"]), (1, &"alice".into()));
    owner.does(&["guard", "session", "cut", sessions[0]["address"].as_str().unwrap()]);
    assert!(alice.is_cut());
    assert!(owner.does(&["guard", "session", "list", "--json"]).trim() == "[]");
    let said = owner.says(&["guard", "session", "cut", "--user", "alice"], "");
    assert_eq!(said.code, 43, "{}", said.err);
    assert!(!guard.stops().contains("ERROR"));
}

/// What the two of [`two_commands_lead_to_a_guarded_application`] have left in the audit log.
fn audited(owner: &Owner) {
    // The store has it within half a second.
    std::thread::sleep(Duration::from_millis(900));
    let lines = owner.does(&["audit", "--user", "alice", "--app", "orders", "--since", "1h", "--json"]);
    let entries: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcomes: Vec<_> = entries.iter().map(|entry| entry["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["done", "repeated", "refused"], "{lines}");
    assert_eq!((&entries[0]["path"], &entries[0]["status"]), (&"/orders".into(), &200.into()));
    let table = owner.does(&["audit", "--app", "orders", "--last", "1"]);
    assert!(table.starts_with("TIME") && table.contains("POST /orders") && table.contains("refused: "), "{table}");
    assert_eq!(owner.does(&["audit", "--app", "orders", "--user", "bob", "--json"]), "");
}

fn counted(owner: &Owner) {
    let start = Instant::now();
    let report = loop {
        let said = owner.says(&["guard", "coverage", "orders", "--json"], "");
        if said.code == 0 {
            break serde_json::from_str::<serde_json::Value>(&said.out).unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{}", said.err);
        std::thread::sleep(Duration::from_millis(300));
    };
    assert_eq!((&report["token"], &report["refused"]), (&2.into(), &1.into()), "{report}");
    let refused = &report["lines"][0];
    assert_eq!((&refused["path"], &refused["rule"]), (&"/orders".into(), &"entry = [\"POST /orders\"]".into()));
    let table = owner.does(&["guard", "coverage", "orders"]);
    assert!(table.contains("bore a page's token") && table.contains("RULE THAT SETTLES IT"), "{table}");
    let other = owner.says(&["guard", "coverage", "wiki"], "");
    assert_eq!(other.code, 43);
    assert!(other.err.contains("counted were: orders"), "{}", other.err);
}

#[test]
fn users_change_beside_the_running_guard() {
    let (owner, shop) = (Owner::new(), Shop::open());
    let guard = owner.guards(&["--upstream", &shop.address(), "--listen", "127.0.0.1:0"]);
    let mut browser = Browser::at(guard.at);
    assert_eq!(browser.signs_in("alice", PASSWORD), 401);
    owner.adds("alice");
    assert_eq!(browser.signs_in("alice", PASSWORD), 303);
    assert_eq!(browser.get("/").status, 200);
    owner.does(&["guard", "user", "groups", "alice", "--group", "sales"]);
    assert_eq!(owner.json(&["guard", "user", "list"])[0]["groups"][0], "sales");
    let changed = owner.says(&["guard", "user", "passwd", "alice", "--password-stdin"], "another eight walruses\n");
    assert_eq!(changed.code, 0, "{}", changed.err);
    assert_eq!(browser.get("/").status, 200, "sessions go on");
    assert_eq!(Browser::at(guard.at).signs_in("alice", PASSWORD), 401);
    owner.does(&["guard", "user", "remove", "alice"]);
    assert!(browser.is_cut());
    let second = owner.says(&["guard", "--upstream", "http://127.0.0.1:1", "--listen", "127.0.0.1:0"], "");
    assert_eq!(second.code, 42, "{}", second.err);
    assert!(second.err.contains("the guard is running already"), "{}", second.err);
    let rest = guard.stops();
    assert!(rest.contains("Nobody can sign in yet") && rest.contains("vestibule guard user add alice --dir"), "{rest}");
}

#[test]
fn commands_say_what_is_wrong_and_what_to_do() {
    let owner = Owner::new();
    let fails = |words: &[&str], stdin: &str, code: i32, text: &str| {
        let said = owner.says(words, stdin);
        assert_eq!(said.code, code, "{words:?}: {}", said.err);
        assert!(said.err.contains(text) && said.err.contains("  → "), "{words:?}: {}", said.err);
    };
    fails(&["guard"], "", 2, "what is to be guarded?");
    fails(&["guard", "user", "list"], "", 40, "there is no guard in");
    fails(&["guard", "session", "list"], "", 40, "there is no guard in");
    fails(&["audit", "--app", "orders"], "", 40, "there is no guard in");
    fails(&["guard", "user", "add", "alice", "--password-stdin"], "password123\n", 51, "this password is too weak");
    owner.adds("alice");
    fails(&["guard", "user", "add", "alice", "--password-stdin"], "", 43, "there is a user `alice` already");
    fails(&["guard", "user", "remove", "bob"], "", 43, "there is no user `bob`");
    for open in ["0.0.0.0:0", "[::]:0"] {
        let words = ["guard", "--upstream", "http://127.0.0.1:1", "--listen", open];
        fails(&words, "", 40, "can be reached by other machines, and there is no TLS");
    }
    let schemeless = owner.says(&["guard", "--upstream", "127.0.0.1:1"], "");
    assert_eq!(schemeless.code, 40);
    assert!(
        schemeless.err.contains("is not the address of a web server: write http://HOST:PORT"),
        "{}",
        schemeless.err
    );
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let held = TcpListener::bind(taken).unwrap();
    fails(
        &["guard", "--files", "/tmp", "--listen", &held.local_addr().unwrap().to_string()],
        "",
        40,
        "nothing can listen",
    );
    fs::write(Path::new(&owner.dir()).join("gateway.toml"), "").unwrap();
    fails(&["guard", "user", "add", "bob", "--password-stdin"], "", 40, "is a gateway's directory");
}

#[test]
fn several_applications_from_a_file_that_is_read_again() {
    let (owner, shop) = (Owner::new(), Shop::open());
    owner.adds("alice");
    fs::create_dir(owner.path("papers")).unwrap();
    fs::write(owner.path("papers/a.txt"), "a paper").unwrap();
    let file = owner.path("guard.toml");
    let text = format!(
        "listen = [\"127.0.0.1:0\"]\n[apps.orders]\nupstream = \"{}\"\nhosts = [\"orders.example.org\"]\n[apps.papers]\nfiles = \"papers\"\n",
        shop.address()
    );
    fs::write(&file, format!("{text}[guard.papers]\nmodes = \"strict\"\n")).unwrap();
    let wrong = owner.says(&["guard", "--config", &file], "");
    assert_eq!(wrong.code, 40);
    assert!(
        wrong.err.contains("guard.toml, line 8: there is no key `modes`") && wrong.err.contains("did you mean `mode`?")
    );
    let checked = owner.command(&["check", &file]).output().unwrap();
    assert_eq!(checked.status.code(), Some(40));
    fs::write(&file, &text).unwrap();
    assert_eq!(owner.command(&["check", &file]).output().unwrap().status.code(), Some(0));
    let guard = owner.guards(&["--config", &file]);
    let host = |name: &str| Browser { at: guard.at, host: format!("{name}:{}", guard.at.port()), cookie: None };
    let (mut orders, mut papers) = (host("orders.example.org"), host("papers.localhost"));
    assert_eq!((orders.signs_in("alice", PASSWORD), papers.signs_in("alice", PASSWORD)), (303, 303));
    assert!(orders.get("/").body.contains("Orders"));
    assert_eq!(papers.get("/a.txt").body, "a paper");
    assert_eq!(host("elsewhere.example.org").get("/").status, 404);
    fs::write(&file, format!("{text}[[guard.papers.rules]]\nwho = \"user:bob\"\n")).unwrap();
    guard.signal(rustix::process::Signal::HUP);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!((papers.get("/a.txt").status, orders.get("/").status), (403, 200));
    guard.stops();
}

#[test]
fn observe_mode_refuses_nothing_and_counts_what_it_would() {
    let (owner, shop) = (Owner::new(), Shop::open());
    owner.adds("alice");
    let guard = owner.guards(&["--upstream", &shop.address(), "--listen", "127.0.0.1:0", "--mode", "observe"]);
    let mut alice = Browser::at(guard.at);
    assert_eq!(alice.signs_in("alice", PASSWORD), 303);
    assert_eq!((alice.post("/orders", "item=paper").status, shop.orders()), (200, 1));
    guard.stops();
    assert_eq!(owner.json(&["guard", "coverage", "app"])["refused"], 1);
}

#[test]
fn https_with_a_certificate_of_ones_own() {
    let (owner, shop) = (Owner::new(), Shop::open());
    owner.adds("alice");
    let (cert, key) = (owner.path("cert.pem"), owner.path("key.pem"));
    let subject = ["-subj", "/CN=guard.example.org", "-addext", "subjectAltName=DNS:guard.example.org"];
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &key, "-out", &cert])
        .args(subject)
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let swapped = owner.says(&["guard", "--files", "/tmp", "--tls-cert", &key, "--tls-key", &cert], "");
    assert_eq!(swapped.code, 40, "{}", swapped.err);
    let words = ["--upstream", &shop.address(), "--listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key];
    let guard = owner.guards(&words);
    for offered in ["h2", "http/1.1"] {
        assert_eq!(over_tls(guard.at, &cert, offered, "").0.as_deref(), Some(offered.as_bytes()));
    }
    let form = format!("user=alice&password={}&to=%2F", PASSWORD.replace(' ', "+"));
    let request = format!(
        "POST /.vestibule/login HTTP/1.1\r\nHost: guard.example.org\r\nOrigin: https://guard.example.org\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let (_, answer) = over_tls(guard.at, &cert, "http/1.1", &request);
    let answer = Answer::read(answer.as_slice());
    assert_eq!(answer.status, 303, "{}", answer.head);
    assert!(answer.head.contains("set-cookie: __Host-") && answer.head.contains("Secure"), "{}", answer.head);
    guard.stops();
}

/// Which protocol was agreed on, and what was answered.
fn over_tls(at: SocketAddr, cert: &str, offered: &str, request: &str) -> (Option<Vec<u8>>, Vec<u8>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).unwrap()).unwrap();
    let mut client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![offered.as_bytes().to_vec()];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(at).await.unwrap();
        let name = ServerName::try_from("guard.example.org").unwrap();
        let mut stream = tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, stream).await.unwrap();
        let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        let mut answer = Vec::new();
        if !request.is_empty() {
            stream.write_all(request.as_bytes()).await.unwrap();
            let _ = stream.read_to_end(&mut answer).await;
        }
        (agreed, answer)
    })
}
