//! Directories of files and of CGI programs as upstreams.

use crate::support::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use vestibule_guard::{CgiSettings, FilesSettings, Limits, UpstreamError, UpstreamErrorKind, UpstreamSettings};

fn program(directory: &Path, name: &str, text: &str) {
    let file = directory.join(name);
    fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

async fn files() -> (TempDir, Front) {
    let all = TempDir::new().unwrap();
    let root = all.path().join("root");
    fs::create_dir_all(root.join("sub/.git")).unwrap();
    fs::write(all.path().join("secret"), "secret").unwrap();
    fs::write(root.join("index.html"), "<p>index").unwrap();
    fs::write(root.join("ten.txt"), "0123456789").unwrap();
    fs::write(root.join(".htaccess"), "secret").unwrap();
    fs::write(root.join("sub/.git/config"), "secret").unwrap();
    symlink(all.path().join("secret"), root.join("absolute")).unwrap();
    symlink("../secret", root.join("upwards")).unwrap();
    symlink("..", root.join("parent")).unwrap();
    symlink("ten.txt", root.join("within")).unwrap();
    let settings = FilesSettings { root, index: vec!["index.html".to_owned()] };
    (all, front_of(UpstreamSettings::Files(settings), Limits::default()).await)
}

async fn programs() -> (TempDir, Front) {
    let root = TempDir::new().unwrap();
    program(root.path(), "env", "echo Content-Type: text/plain; echo; env; echo args:$#; cat");
    program(root.path(), "hang", "echo $$ > \"$DOCUMENT_ROOT/pid\"; sleep 60");
    program(root.path(), "silent", "printf 'Content-Type: text/plain\\n\\nhalf'; sleep 60");
    program(root.path(), "killed", "printf 'Content-Type: text/plain\\n\\nhalf'; kill -9 $$");
    program(root.path(), "nonsense", "echo nonsense; echo");
    program(
        root.path(),
        "away",
        "echo Location: /elsewhere; echo Status: 303; echo 'Set-Cookie: vestibule=evil'; echo",
    );
    fs::write(root.path().join("data"), "secret").unwrap();
    symlink("/bin/ls", root.path().join("ls")).unwrap();
    let settings = CgiSettings { directory: root.path().to_owned(), timeout: Duration::from_millis(1_500) };
    (root, front_of(UpstreamSettings::Cgi(settings), Limits::default()).await)
}

async fn ask(front: &Front, target: &str, fields: &str) -> String {
    exchange(front, format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n")).await
}

#[tokio::test]
async fn files_and_parts_of_them() {
    let (_all, front) = files().await;
    let whole = ask(&front, "/ten.txt?x", "").await;
    assert!(whole.starts_with("HTTP/1.1 200") && whole.ends_with("\r\n\r\n0123456789"), "{whole}");
    assert!(whole.contains("content-type: text/plain") && whole.contains("content-length: 10\r\n"), "{whole}");
    let part = ask(&front, "/ten.txt", "Range: bytes=2-4\r\n").await;
    assert!(part.starts_with("HTTP/1.1 206") && part.ends_with("\r\n\r\n234"), "{part}");
    assert!(part.contains("content-range: bytes 2-4/10\r\n"), "{part}");
    let beyond = ask(&front, "/ten.txt", "Range: bytes=10-\r\n").await;
    assert!(beyond.starts_with("HTTP/1.1 416") && beyond.contains("content-range: bytes */10\r\n"), "{beyond}");
    let etag = whole.split("etag: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let had = ask(&front, "/ten.txt", &format!("If-None-Match: {etag}\r\n")).await;
    assert!(had.starts_with("HTTP/1.1 304") && had.ends_with("\r\n\r\n"), "{had}");
    let resumed = ask(&front, "/ten.txt", &format!("If-Range: {etag}\r\nRange: bytes=8-\r\n")).await;
    assert!(resumed.starts_with("HTTP/1.1 206") && resumed.ends_with("\r\n\r\n89"), "{resumed}");
    assert!(ask(&front, "/", "").await.ends_with("<p>index"));
    assert!(ask(&front, "/within", "").await.ends_with("0123456789"));
    assert!(ask(&front, "/sub?a=b", "").await.contains("location: /sub/?a=b\r\n"));
    let head = exchange(&front, "HEAD /ten.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(head.contains("content-length: 10\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    let post =
        exchange(&front, "POST /ten.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
    assert!(post.starts_with("HTTP/1.1 405") && post.contains("allow: GET, HEAD\r\n"), "{post}");
}

#[tokio::test]
async fn no_file_outside_and_none_that_is_hidden() {
    let (_all, front) = files().await;
    for path in [
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/%2e%2e%2fsecret",
        "/..%5csecret",
        "/sub/../../secret",
        "//secret",
        "/sub//../../secret",
        "/..;/secret",
        "/;/../secret",
        "/%252e%252e/secret",
        "/..%c0%afsecret",
        "/absolute",
        "/upwards",
        "/parent/secret",
        "/.htaccess",
        "/%2ehtaccess",
        "/sub/.git/config",
        "/sub/%2egit/config",
        "/ten.txt%00",
        "/ten.txt/",
        "/ten.txt/x",
        "/sub/",
        "/nothing",
    ] {
        let answer = ask(&front, path, "").await;
        assert!(answer.starts_with("HTTP/1.1 404") && !answer.contains("secret"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_program_is_told_what_it_may_know() {
    let (_root, front) = programs().await;
    let fields = "Proxy: evil\r\nX-Mine: 1\r\nX_Mine: 2\r\nAuthorization: secret\r\nvestibule_user: root\r\nX-Forwarded-For: 1.1.1.1\r\n";
    let answer = ask(&front, "/env/a%20b/c?-s+x=1", fields).await;
    for line in [
        "GATEWAY_INTERFACE=CGI/1.1",
        "SCRIPT_NAME=/env",
        "PATH_INFO=/a b/c",
        "QUERY_STRING=-s+x=1",
        "REQUEST_METHOD=GET",
        "REMOTE_USER=alice",
        "REMOTE_ADDR=fd00::7",
        "SERVER_NAME=orders.localhost",
        "SERVER_PORT=8080",
        "HTTP_X_MINE=1",
        "HTTP_X_FORWARDED_FOR=fd00::7",
        "HTTP_VESTIBULE_USER=alice",
        "args:0",
    ] {
        assert!(answer.contains(&format!("{line}\n")), "{line}: {answer}");
    }
    for bad in ["HTTP_PROXY", "secret", "root\n", "1.1.1.1", "CARGO", "HOME=", "CONTENT_LENGTH"] {
        assert!(!answer.contains(bad), "{bad}: {answer}");
    }
    for body in ["Content-Length: 2\r\n\r\nhi", "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"] {
        let answer = exchange(&front, format!("POST /env HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{body}")).await;
        assert!(answer.contains("CONTENT_LENGTH=2\n") && answer.contains("hi"), "{answer}");
    }
}

#[tokio::test]
async fn programs_that_do_not_answer_well() {
    let (root, front) = programs().await;
    for path in ["/data", "/ls", "/nothing", "/", "/../bin/ls"] {
        assert!(ask(&front, path, "").await.starts_with("HTTP/1.1 404"), "{path}");
    }
    let moved = ask(&front, "/away", "").await;
    assert!(moved.starts_with("HTTP/1.1 303") && moved.contains("location: /elsewhere\r\n"), "{moved}");
    assert!(!moved.contains("evil"), "{moved}");
    for cut in ["/silent", "/killed"] {
        let answer = ask(&front, cut, "").await;
        // One that breaks off at once may take its answer's head along.
        let begun = answer.is_empty() || answer.starts_with("HTTP/1.1 200");
        assert!(begun && !answer.contains("\r\n0\r\n\r\n"), "{cut}: {answer}");
    }
    assert!(front.errors.lock().unwrap().is_empty());
    let started = Instant::now();
    assert!(ask(&front, "/hang", "").await.starts_with("HTTP/1.1 502"));
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(ask(&front, "/nonsense", "").await.starts_with("HTTP/1.1 502"));
    let kinds = [UpstreamErrorKind::Hangs, UpstreamErrorKind::BadAnswer].map(|kind| UpstreamError { kind, sent: true });
    assert_eq!(*front.errors.lock().unwrap(), kinds);
    let pid = fs::read_to_string(root.path().join("pid")).unwrap();
    let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "it was killed: {state}");
}
