//! The program as a person or a script meets it: what it prints where, and its exit codes. Nothing here reaches a network.

// A panic here is the report.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
use vestibule_proto::id::Stamp;
use vestibule_proto::invitation::GatewayInvitation;

/// A person's home without anything in it.
struct Person {
    home: TempDir,
}

/// What a command left behind.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Person {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    fn dir(&self, role: &str) -> String {
        self.home.path().join(role).display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
        command.args(arguments).env_clear().env("HOME", self.home.path()).stdin(Stdio::null());
        command
    }

    fn runs(&self, arguments: &[&str]) -> Said {
        Said::of(self.command(arguments).output().unwrap())
    }

    /// A controller that does not run, and what `init` said.
    fn makes_a_controller(&self) -> (String, Said) {
        let dir = self.dir("controller");
        let said = self.runs(&["controller", "init", "--public", "127.0.0.1:4433", "--dir", &dir]);
        assert_eq!(said.code, 0, "{}", said.err);
        (dir, said)
    }

    /// A gateway that does not run, invited by a controller that does not run.
    fn makes_a_gateway(&self) -> String {
        let (controller, _) = self.makes_a_controller();
        let invited = self.runs(&["controller", "invite", "office", "--dir", &controller]);
        let dir = self.dir("gateway");
        let link = invited.out.trim();
        let said = self.runs(&["gateway", "init", "--controller", link, "--public", "127.0.0.1:4434", "--dir", &dir]);
        assert_eq!(said.code, 0, "{}", said.err);
        dir
    }
}

impl Said {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    fn fails(&self, code: i32, headline: &str) {
        assert_eq!(self.code, code, "{}", self.err);
        assert!(self.err.contains(headline), "{}", self.err);
        assert!(self.out.is_empty(), "a failure says nothing on stdout: {}", self.out);
        assert!(!self.err.contains('\u{1b}'), "colours are for terminals");
    }

    #[track_caller]
    fn hints_at(&self, next: &str) {
        assert!(self.err.lines().any(|line| line.starts_with("  → ") && line.contains(next)), "{}", self.err);
    }
}

#[test]
fn where_no_role_was_made_every_command_tells_how_to_make_one() {
    let person = Person::new();
    let dir = person.dir("nowhere");
    for words in [&["controller", "run"][..], &["controller", "status"], &["controller", "invite", "office"]] {
        let said = person.runs(&[words, &["--dir", &dir]].concat());
        said.fails(40, "there is no controller in");
        said.hints_at(&format!("vestibule controller init --public HOST:PORT --dir {dir}"));
    }
    for words in [&["gateway", "run"][..], &["gateway", "status"], &["user", "list"], &["invite", "alice"]] {
        let said = person.runs(&[words, &["--dir", &dir]].concat());
        said.fails(40, "there is no gateway in");
        said.hints_at("vestibule gateway init --controller LINK");
    }
    for words in [&["up"][..], &["status"], &["down"], &["services"], &["pipe", "db"]] {
        let said = person.runs(&[words, &["--dir", &dir]].concat());
        said.fails(11, "there is no local credential");
        said.hints_at("vestibule enroll");
    }
}

#[test]
fn a_role_is_made_once_and_its_next_commands_can_be_copied() {
    let person = Person::new();
    let (dir, said) = person.makes_a_controller();
    assert!(said.out.contains(&format!("vestibule controller run --dir {dir}")), "{}", said.out);
    let again = person.runs(&["controller", "init", "--public", "127.0.0.1:4433", "--dir", &dir]);
    again.fails(43, "there is a controller in");
    again.hints_at("vestibule controller run");
    let status = person.runs(&["controller", "status", "--dir", &dir]);
    status.fails(42, "the controller is not running");
    status.hints_at("start it: vestibule controller run");
}

#[test]
fn a_second_link_of_a_name_says_that_the_first_is_void() {
    let person = Person::new();
    let (dir, _) = person.makes_a_controller();
    let first = person.runs(&["controller", "invite", "office", "--dir", &dir]);
    assert!(!first.err.contains("no longer works"), "{}", first.err);
    let second = person.runs(&["controller", "invite", "office", "--dir", &dir]);
    assert!(second.err.contains("An earlier link for `office` no longer works."), "{}", second.err);
    assert_eq!(second.out.lines().count(), 1, "stdout has the link alone");
    person.runs(&["controller", "invite", "of fice", "--dir", &dir]).fails(2, "a gateway's name has 1 to 64 letters");
}

#[test]
fn a_link_for_somebody_else_is_told_apart() {
    let person = Person::new();
    let enrol = person.runs(&["enroll", "vestibule-gateway:AQF", "--dir", &person.dir("client")]);
    enrol.fails(50, "this is not an invitation");
    enrol.hints_at("vestibule gateway init --controller LINK");
    let init = person.runs(&["gateway", "init", "--controller", "vestibule:AQF", "--public", "127.0.0.1:1"]);
    init.fails(50, "this is not an invitation");
    init.hints_at("vestibule enroll");
    let cut = person.runs(&["gateway", "init", "--controller", "vestibule-gateway:AQF", "--public", "127.0.0.1:1"]);
    cut.fails(50, "its checksum does not match");
}

#[test]
fn a_link_that_expired_makes_and_relinks_no_gateway() {
    let person = Person::new();
    let (controller, _) = person.makes_a_controller();
    let invited = person.runs(&["controller", "invite", "office", "--dir", &controller]);
    let link = GatewayInvitation::from_link(invited.out.trim()).unwrap();
    let expired = GatewayInvitation { expires: Stamp::from_millis(1_700_000_000_000), ..link }.to_link();
    let dir = person.dir("gateway");
    let init = ["gateway", "init", "--controller", &expired, "--public", "127.0.0.1:4434", "--dir", &dir];
    let refused = person.runs(&init);
    refused.fails(50, "this link expired at 2023-11-14");
    refused.hints_at("vestibule controller invite NAME");
    assert!(!Path::new(&dir).exists());
    let relink = person.runs(&["gateway", "relink", &expired, "--dir", &dir]);
    relink.fails(50, "this link expired at 2023-11-14");
}

#[test]
fn tables_are_aligned_and_empty_cells_have_a_dash() {
    let person = Person::new();
    let dir = person.makes_a_gateway();
    for words in [&["user", "add", "alice", "--group", "sales"][..], &["user", "add", "bo"]] {
        assert_eq!(person.runs(&[words, &["--dir", &dir]].concat()).code, 0);
    }
    let list = person.runs(&["user", "list", "--dir", &dir]);
    let expected = "USER   GROUPS  STATE   DEVICES  SESSIONS\n\
                    alice  sales   active  0        0\n\
                    bo     -       active  0        0\n";
    assert_eq!((list.out.as_str(), list.err.as_str()), (expected, ""));
    let json: serde_json::Value =
        serde_json::from_str(&person.runs(&["user", "list", "--json", "--dir", &dir]).out).unwrap();
    assert_eq!(json[1]["name"], "bo");
}

#[test]
fn a_service_names_what_is_missing_and_where_it_is_defined() {
    let person = Person::new();
    let dir = person.makes_a_gateway();
    let said = person.runs(&["service", "add", "db", "--allow", "everyone", "--dir", &dir]);
    said.fails(2, "--tcp <HOST:PORT>|--udp <HOST:PORT>|--web <http://HOST:PORT>");
    let added = person.runs(&["service", "add", "db", "--tcp", "127.0.0.1:1", "--allow", "everyone", "--dir", &dir]);
    assert!(added.out.contains("defined in       database"), "{}", added.out);
    let file = Path::new(&dir).join("gateway.toml");
    let text = fs::read_to_string(&file).unwrap() + "[services.db]\ntcp = \"127.0.0.1:2\"\nallow = [\"everyone\"]\n";
    fs::write(&file, text).unwrap();
    let run = person.runs(&["gateway", "run", "--dir", &dir]);
    assert_eq!(run.code, 40);
    assert!(run.err.contains("there is already a service `db`"), "{}", run.err);
    run.hints_at("vestibule service remove db");
}

#[test]
fn a_udp_service_is_added_shown_and_never_direct() {
    let person = Person::new();
    let dir = person.makes_a_gateway();
    let add = |rest: &[&str]| {
        let words = ["service", "add", "dns", "--udp", "10.0.0.53:53", "--allow", "everyone", "--dir", &dir];
        person.runs(&[&words[..], rest].concat())
    };
    add(&["--direct", "53"]).fails(2, "cannot be used with");
    add(&["--tcp", "10.0.0.53:53"]).fails(2, "cannot be used with");
    let added = add(&[]);
    assert!(added.out.contains("kind             udp"), "{}", added.out);
    let list = person.runs(&["service", "list", "--json", "--dir", &dir]);
    let json: serde_json::Value = serde_json::from_str(&list.out).unwrap();
    assert_eq!((&json[0]["kind"], &json[0]["upstream"]), (&"udp".into(), &"10.0.0.53:53".into()), "{json}");
    let file = Path::new(&dir).join("gateway.toml");
    let text = fs::read_to_string(&file).unwrap();
    for (wrong, says) in [
        ("udp = \"10.0.0.53:53\"\ntcp = \"10.0.0.53:53\"", "it needs one of `tcp`, `udp` and `web`"),
        ("udp = \"10.0.0.53\"", "`10.0.0.53` is not HOST:PORT"),
    ] {
        fs::write(&file, format!("{text}[services.ntp]\nallow = []\n{wrong}\n")).unwrap();
        let checked = person.runs(&["check", &file.display().to_string()]);
        assert_eq!(checked.code, 40);
        assert!(checked.err.contains(says), "{}", checked.err);
    }
}

#[test]
fn check_tells_every_problem_with_its_file() {
    let person = Person::new();
    let write = |name: &str, text: &str| {
        let file = person.home.path().join(name);
        fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let files = [
        write("client.toml", "forward = [\"zz\"]\n"),
        write("controller.toml", "listen = [\"127.0.0.1:1\"]\npublic = [\"c\"]\n"),
        write("gateway.toml", "listen = [\"127.0.0.1:1\"]\npublic = [\"127.0.0.1:1\"]\nnat = \"folow\"\n"),
    ];
    let said = person.runs(&["check", &files[0], &files[1], &files[2]]);
    assert_eq!(said.code, 40);
    assert_eq!(said.out.matches("not valid").count(), 3, "{}", said.out);
    for headline in [
        format!("error: {}: 'zz' is not LOCAL=SERVICE", files[0]),
        format!("error: {}: `c` is not HOST:PORT", files[1]),
        format!("error: {}, line 3: there is no value `folow`", files[2]),
    ] {
        assert!(said.err.contains(&headline), "{headline}\n{}", said.err);
    }
    write("client.toml", "[log]\nfilter = \"in=fo=x\"\n");
    let said = person.runs(&["check", &files[0]]);
    assert_eq!(said.code, 40);
    assert!(said.err.contains("`filter` is `in=fo=x`"), "{}", said.err);
}

#[test]
fn addresses_that_are_none_say_what_one_looks_like() {
    let person = Person::new();
    let said = person.runs(&["gateway", "init", "--controller", "x", "--public", "gw.example.org:4434"]);
    said.fails(2, "is not an IP address and a port, as in 203.0.113.7:4434");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let person = Person::new();
    let mut child =
        person.command(&["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 1];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let said = Said::of(child.wait_with_output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (0, ""));
}

#[test]
fn a_weak_password_is_refused_before_it_is_asked_for_again() {
    // The invitation of a gateway that never ran: everything up to the first packet works with it.
    let person = Person::new();
    let dir = person.makes_a_gateway();
    assert_eq!(person.runs(&["user", "add", "alice", "--dir", &dir]).code, 0);
    let link = person.runs(&["invite", "alice", "--dir", &dir]).out;
    let client = person.dir("client");
    let mut child = person
        .command(&["enroll", link.trim(), "--password-stdin", "--dir", &client])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"short\n").unwrap();
    let said = Said::of(child.wait_with_output().unwrap());
    said.fails(51, "this password is too weak");
    said.hints_at("choose a longer one");
}

#[test]
fn what_follows_the_password_on_stdin_is_left_for_the_connection() {
    let person = Person::new();
    let dir = person.makes_a_gateway();
    assert_eq!(person.runs(&["user", "add", "alice", "--dir", &dir]).code, 0);
    let link = person.runs(&["invite", "alice", "--dir", &dir]).out;
    let path = person.home.path().join("stdin");
    fs::write(&path, format!("{link}short\nGET / HTTP/1.0\r\n\r\n")).unwrap();
    let mut file = fs::File::open(&path).unwrap();
    let client = person.dir("client");
    let mut command = person.command(&["enroll", "-", "--password-stdin", "--dir", &client]);
    let said = Said::of(command.stdin(file.try_clone().unwrap()).output().unwrap());
    said.fails(51, "this password is too weak");
    // The place in the file is shared: it tells how far the program has read.
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "GET / HTTP/1.0\r\n\r\n");
}

#[test]
fn no_password_is_asked_for_when_a_local_address_is_in_use() {
    let person = Person::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let client = person.dir("client");
    fs::create_dir_all(&client).unwrap();
    fs::write(Path::new(&client).join("alice@office.credential"), "never opened").unwrap();
    let up = person.runs(&["up", "--socks", &address, "--http", "127.0.0.1:0", "--dir", &client]);
    up.fails(40, &format!("nothing can listen on {address}"));
    let forward = person.runs(&["forward", &format!("{address}=db"), "--dir", &client]);
    forward.fails(40, &format!("nothing can listen on {address}"));
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let taken = UdpSocket::bind(udp).unwrap();
    let forward = person.runs(&["forward", &format!("{udp}/udp=dns"), "--dir", &client]);
    forward.fails(40, &format!("nothing can listen on {udp}"));
    drop(taken);
    person.runs(&["forward", "53/sctp=dns", "--dir", &client]).fails(2, "'53/sctp=dns' is not LOCAL=SERVICE");
    let open = person.runs(&["up", "--socks", "0.0.0.0:1080", "--dir", &client]);
    open.fails(40, "0.0.0.0:1080 is not an address of this machine alone");
}

#[test]
fn a_credential_that_is_not_there_names_those_that_are() {
    let person = Person::new();
    let client = person.dir("client");
    fs::create_dir_all(&client).unwrap();
    fs::write(Path::new(&client).join("alice@office.credential"), "never opened").unwrap();
    let said = person.runs(&["status", "--as", "bob", "--dir", &client]);
    said.fails(11, "there is no credential `bob` on this machine");
    said.hints_at("--as alice@office");
}

#[test]
fn the_audit_log_shows_at_least_one_entry() {
    Person::new().runs(&["audit", "--last", "0"]).fails(2, "0 is not in 1..");
}
