//! The guard behind others (a balancer, a proxy that speaks HTTPS), and before CGI programs; and what stays in its files.

use crate::support::*;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// A PROXY protocol header of version 2 for a connection from this IPv4 address.
fn proxied(from: [u8; 4]) -> Vec<u8> {
    let addresses = [&from[..], &[10, 0, 0, 1], &40_000_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat();
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"[..], &addresses].concat()
}

fn form(user: &str) -> String {
    format!("user={user}&password={}&to=%2F", PASSWORD.replace(' ', "+"))
}

fn login(host: &str, origin: &str) -> String {
    let form = form("alice");
    format!(
        "POST /.vestibule/login HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    )
}

#[test]
fn a_balancer_says_whom_its_connections_are_for_and_nobody_else_does() {
    let (owner, shop) = (Owner::new(), Shop::open());
    owner.adds("alice");
    let words = ["--upstream", &shop.address(), "--listen", "127.0.0.1:0", "--proxy-protocol-from", "127.0.0.1"];
    let guard = owner.guards(&words);
    let host = guard.at.to_string();
    let exchange = |start: &[u8]| {
        let mut stream = TcpStream::connect(guard.at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        let request = login(&host, &format!("http://{host}"));
        // One that is refused may be closed before all of it is written.
        let _ = stream.write_all(&[start, request.as_bytes()].concat());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    };
    assert!(exchange(b"").is_empty(), "its connection without a header is closed without a word");
    assert!(exchange(b"PROXY TCP4 1.2.3.4 10.0.0.1 1 2\r\n").is_empty());
    assert!(exchange(&proxied([203, 0, 113, 9])).starts_with(b"HTTP/1.1 303"));
    let sessions = owner.json(&["guard", "session", "list"]);
    assert_eq!((sessions.as_array().unwrap().len(), &sessions[0]["client"]), (1, &"203.0.113.9".into()));
    guard.stops();

    // Anybody else's header is no header, but nonsense before a request.
    let words = ["--upstream", &shop.address(), "--listen", "127.0.0.1:0", "--proxy-protocol-from", "192.0.2.1"];
    let guard = owner.guards(&words);
    let mut stream = TcpStream::connect(guard.at).unwrap();
    let host = guard.at.to_string();
    let request = login(&host, &format!("http://{host}"));
    let _ = stream.write_all(&[proxied([203, 0, 113, 10]), request.into()].concat());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(!answer.contains(" 303 "), "{answer}");
    let sessions = owner.json(&["guard", "session", "list"]);
    assert!(sessions.as_array().unwrap().iter().all(|session| session["client"] != "203.0.113.10"), "{sessions}");
    guard.stops();
}

#[test]
fn behind_a_proxy_that_speaks_https_browsers_are_served_as_over_https() {
    let (owner, shop) = (Owner::new(), Shop::open());
    owner.adds("alice");
    let guard = owner.guards(&["--upstream", &shop.address(), "--listen", "127.0.0.1:0", "--https-outside"]);
    let exchange = |origin: &str| {
        let mut stream = TcpStream::connect(guard.at).unwrap();
        stream.write_all(login("orders.example.org", origin).as_bytes()).unwrap();
        Answer::read(stream)
    };
    assert_eq!(exchange("http://orders.example.org").status, 403, "a page that came over plain HTTP is another's");
    let answer = exchange("https://orders.example.org");
    assert_eq!(answer.status, 303, "{}", answer.head);
    let cookie = answer.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.starts_with("__Host-vestibule=") && cookie.contains("; Secure"), "{cookie}");
    let mut browser = Browser {
        at: guard.at,
        host: "orders.example.org".to_owned(),
        cookie: cookie.split(';').next().map(str::to_owned),
    };
    assert_eq!(browser.get("/").status, 200);
    guard.stops();
}

#[test]
fn programs_of_a_cgi_directory_are_guarded_like_any_application() {
    let owner = Owner::new();
    owner.adds("alice");
    fs::create_dir(owner.path("cgi")).unwrap();
    let program = "#!/bin/sh\nprintf 'Content-Type: text/html\\n\\n'\n\
                   echo \"<html><head></head><body>$REQUEST_METHOD $REMOTE_USER $HTTP_PROXY $PATH_INFO $(cat)\"\n\
                   echo '<form method=post action=/orders></form></body></html>'\n";
    fs::write(owner.path("cgi/orders"), program).unwrap();
    fs::set_permissions(owner.path("cgi/orders"), fs::Permissions::from_mode(0o755)).unwrap();
    let guard = owner.guards(&["--cgi", &owner.path("cgi"), "--listen", "127.0.0.1:0"]);
    let mut alice = Browser::at(guard.at);
    assert_eq!(alice.get("/orders").status, 401);
    assert_eq!(alice.signs_in("alice", PASSWORD), 303);
    let page = alice.get("/orders/a%20b");
    assert!(page.body.contains("GET alice  /a b "), "{}", page.body);
    let order = format!(".vestibule={}&item=paper", page.token());
    let done = alice.post("/orders", &order);
    assert!(done.status == 200 && done.body.contains("POST alice   item=paper"), "{}", done.body);
    assert_eq!(alice.post("/orders", &order).status, 409);
    assert_eq!(alice.post("/orders", "item=paper").status, 403);
    guard.stops();
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn neither_log_nor_files_hold_a_token_a_cookie_or_a_password() {
    let (owner, shop) = (Owner::new(), Shop::open());
    owner.adds("alice");
    let words = ["--upstream", &shop.address(), "--listen", "127.0.0.1:0"];
    let guard = owner.guards_with(&[("RUST_LOG", "trace")], &words);
    let mut alice = Browser::at(guard.at);
    assert_eq!(alice.signs_in("alice", PASSWORD), 303);
    let cookie = alice.cookie.clone().unwrap().split_once('=').unwrap().1.to_owned();
    let token = alice.get("/").token();
    let order = format!(".vestibule={token}&item=a-secret-order");
    assert_eq!((alice.post("/orders", &order).status, alice.post("/orders", &order).status), (200, 409));
    assert_eq!(alice.get(&format!("/?.vestibule={token}&x=1")).status, 200);
    assert_eq!(alice.post("/orders", ".vestibule=AAAA&item=a-secret-order").status, 403);
    owner.does(&["guard", "session", "cut", "--user", "alice"]);
    assert!(alice.is_cut());
    // The form is kept for its user, sealed.
    assert_eq!(alice.post("/orders", &order.replace("order&", "other&")).status, 401);
    let said = guard.stops();
    assert!(said.len() > 100, "it did log: {said}");
    let plain = token.split('.').next().unwrap();
    let secrets = [plain, cookie.as_str(), PASSWORD, "seven+quiet+otters", "a-secret-order"];
    for secret in secrets {
        assert!(!said.contains(secret), "{secret} in the log");
    }
    let held = files(Path::new(&owner.dir()));
    assert!(held.len() >= 4, "{held:?}");
    for file in held {
        let bytes = fs::read(&file).unwrap();
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "{secret} in {}", file.display());
        }
    }
}
