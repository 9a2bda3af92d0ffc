//! What the owner's commands tell: as `docs/reference/administration.md` says, by the running role and from its files, to the owner alone.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use vestibule_lab::{Context, Fixture, Invocation, Person, Ran, Result, Role, Service, Upstream, until};
use vestibule_scenarios::installed;

/// Runs as nobody, whom no role's socket is for.
const NOBODY: [&str; 4] = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"];
/// Lists, the command for one of their things, and by which field it is named.
const LISTS: [(&str, &str, &str); 5] = [
    ("user list", "user show", "name"),
    ("device list", "device show", "id"),
    ("invite list", "invite show", "id"),
    ("service list", "service show", "name"),
    ("session list", "session show", "id"),
];

/// A gateway that has something to list everywhere.
struct Scene {
    fixture: Fixture,
    _echo: Upstream,
    _alice: Person,
    _up: Role,
}

fn scene() -> Result<Scene> {
    let mut fixture = Fixture::start()?;
    let inside = fixture.network.host("inside")?;
    let echo = Upstream::echo(&inside, fixture.dir())?;
    let in_file = format!("\n[services.files]\nweb = \"http://{}\"\nallow = [\"group:sales\"]\n", echo.address());
    fixture.configure_gateway(|text| text + &in_file)?;
    fixture.add_service("echo", Service::Tcp(echo.address()), &["everyone"])?;
    let alice = fixture.add_person("alice", &["sales", "ops"])?;
    fixture.add_user("bob", &[])?;
    fixture.invite("bob")?;
    let up = alice.up(&["--forward=127.0.0.1:7000=echo"])?;
    Ok(Scene { fixture, _echo: echo, _alice: alice, _up: up })
}

/// What the reference says of one command.
struct Section {
    always: BTreeSet<String>,
    sometimes: BTreeSet<String>,
    columns: Option<String>,
}

fn section(command: &str) -> Result<Section> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/administration.md");
    let page = fs::read_to_string(page)?;
    let head = format!("\n## `{command}`\n");
    let text = page.split_once(&head).context(format!("no section `{command}`"))?.1;
    let text = text.split("\n## ").next().unwrap_or_default();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |").map(|(first, _)| first));
    let named = |first: &str| first.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let (sometimes, always): (Vec<_>, Vec<_>) = rows.partition(|first| first.starts_with('*'));
    Ok(Section {
        always: always.into_iter().flat_map(named).collect(),
        sometimes: sometimes.into_iter().flat_map(named).collect(),
        columns: text.lines().find_map(|line| line.strip_prefix("Columns: ")).map(str::to_owned),
    })
}

impl Section {
    /// The object has these fields, and no others.
    fn describes(&self, command: &str, object: &Value) -> Result<()> {
        let found: BTreeSet<_> = object.as_object().context(format!("{command}: {object}"))?.keys().cloned().collect();
        let missing: Vec<_> = self.always.difference(&found).collect();
        let known: BTreeSet<_> = self.always.union(&self.sometimes).cloned().collect();
        let unknown: Vec<_> = found.difference(&known).collect();
        assert!(!self.always.is_empty() && missing.is_empty(), "{command}: {missing:?} is missing in {object}");
        assert!(unknown.is_empty(), "{command}: {unknown:?} stands in no reference: {object}");
        Ok(())
    }

    /// The table's head has these columns.
    fn heads(&self, command: &str, head: &str) {
        let words =
            |text: &str| text.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_uppercase).collect();
        let columns: Vec<String> = words(self.columns.as_deref().unwrap_or_default());
        assert!(!columns.is_empty() && columns == words(head) as Vec<String>, "{command}: {head}");
    }
}

type Ask<'a> = &'a dyn Fn(&[&str]) -> Result<Invocation>;

fn run(ask: Ask, command: &str, more: &[&str]) -> Result<Ran> {
    let words: Vec<_> = command.split(' ').chain(more.iter().copied()).collect();
    ask(&words)?.run()
}

/// A command's JSON, and nothing else on either stream.
fn json(ask: Ask, command: &str, more: &[&str]) -> Result<Value> {
    let ran = run(ask, command, &[&["--json"], more].concat())?.ok()?;
    assert_eq!(ran.err(), "", "{command}");
    ran.json()
}

/// A list: documented fields for every thing, and a table with a line for each.
fn list(ask: Ask, command: &str) -> Result<Vec<Value>> {
    let section = section(command)?;
    let things = json(ask, command, &[])?.as_array().context("a list")?.clone();
    assert!(!things.is_empty(), "{command}");
    things.iter().try_for_each(|thing| section.describes(command, thing))?;
    let table = run(ask, command, &[])?.ok()?.out();
    section.heads(command, table.lines().next().unwrap_or_default());
    assert_eq!(table.lines().count(), things.len() + 1, "{table}");
    Ok(things)
}

/// All lists of the gateway, and each thing in them by itself.
fn lists(fixture: &Fixture) -> Result<Vec<Vec<Value>>> {
    let ask: Ask = &|words| fixture.at_gateway(words);
    let lists = LISTS.map(|(of_all, of_one, key)| {
        let things = list(ask, of_all)?;
        for thing in &things {
            let name = thing[key].as_str().context("a name")?;
            let shown = json(ask, of_one, &[name])?;
            let fields = if of_one == "user show" { section(of_one)? } else { section(of_all)? };
            fields.describes(of_one, &shown)?;
            let lines = run(ask, of_one, &[name])?.ok()?.out();
            assert!(lines.lines().next().is_some_and(|line| line.ends_with(name)) || lines.contains(name), "{lines}");
        }
        Ok(things)
    });
    list(ask, "audit")?;
    lists.into_iter().collect()
}

#[test]
fn lists_are_as_the_reference_says_by_the_running_role_and_from_its_files() -> Result<()> {
    let Scene { mut fixture, _echo, _alice, _up } = scene()?;
    section("gateway status")?
        .describes("gateway status", &json(&|words| fixture.at_gateway(words), "gateway status", &[])?)?;
    section("controller status")?
        .describes("controller status", &json(&|words| fixture.at_controller(words), "controller status", &[])?)?;
    let mut running = lists(&fixture)?;
    let gateways = list(&|words| fixture.at_controller(words), "controller gateways")?;
    assert_eq!((&gateways[0]["state"], &gateways[0]["linked"]), (&"linked".into(), &true.into()));
    assert!(running[4].iter().all(|session| session["live"]["flows"].is_array()), "{running:?}");
    assert_eq!(running[3].iter().map(|service| service["source"].clone()).collect::<Vec<_>>(), ["directory", "file"]);

    assert_eq!((fixture.gateway.terminate()?, fixture.controller.terminate()?), (0, 0));
    let from_files = lists(&fixture)?;
    // What only the running role knows, and what it writes down when it ends.
    for (session, from_file) in running[4].iter_mut().zip(&from_files[4]) {
        (session["live"], session["last_use"]) = (Value::Null, from_file["last_use"].clone());
    }
    assert_eq!(running, from_files, "the files tell what the role told");
    let gateways = list(&|words| fixture.at_controller(words), "controller gateways")?;
    assert_eq!((&gateways[0]["state"], &gateways[0]["linked"]), (&"away".into(), &false.into()));
    fixture.at_gateway(&["gateway", "status"])?.run()?.exits(42)?.says("gateway run")?;
    fixture.at_controller(&["controller", "status"])?.run()?.exits(42)?.says("controller run")?;
    Ok(())
}

/// Unknown names: exit code 43, what is unknown, and where to look; nothing on stdout.
fn refuses_unknown_names(fixture: &Fixture) -> Result<()> {
    let unknown = [
        "user show",
        "user remove",
        "user suspend",
        "user resume",
        "user groups",
        "device show",
        "device revoke",
        "device resume",
        "device list --user",
        "invite",
        "invite show",
        "invite revoke",
        "service show",
        "service remove",
        "session show",
        "session revoke",
    ];
    for command in unknown {
        for more in [&["nowhere"][..], &["nowhere", "--json"]] {
            let ran = run(&|words| fixture.at_gateway(words), command, more)?.exits(43)?.says("nowhere")?;
            assert_eq!(ran.out(), "", "{command}");
            assert!(ran.err().contains("→") && ran.err().contains(" list"), "{command}: {}", ran.err());
        }
    }
    let gateway = fixture.at_controller(&["controller", "remove", "nowhere"])?.run()?.exits(43)?.says("nowhere")?;
    assert_eq!(gateway.out(), "");
    // What is there already, and what can't be named so.
    fixture.at_gateway(&["user", "add", "bob"])?.run()?.exits(43)?.says("bob")?;
    let service = ["service", "add", "echo", "--tcp=10.0.0.1:1", "--allow=everyone"];
    fixture.at_gateway(&service)?.run()?.exits(43)?.says("echo")?;
    fixture.at_gateway(&["user", "add", "-", "--json"])?.run()?.exits(2)?;
    fixture.at_gateway(&["user", "show", "a b"])?.run()?.exits(2)?;
    Ok(())
}

#[test]
fn unknown_names_have_their_exit_code_by_the_running_role_and_from_its_files() -> Result<()> {
    let mut fixture = Fixture::start()?;
    fixture.add_user("bob", &[])?;
    let nowhere = "10.0.0.1:1".parse().context("an address")?;
    fixture.add_service("echo", Service::Tcp(nowhere), &["everyone"])?;
    refuses_unknown_names(&fixture)?;
    assert_eq!((fixture.gateway.terminate()?, fixture.controller.terminate()?), (0, 0));
    refuses_unknown_names(&fixture)
}

/// The path to the socket is opened to everybody, so that nothing but the peer's credentials refuses.
#[test]
fn another_user_gets_nothing_from_the_administration_socket() -> Result<()> {
    let mut fixture = Fixture::start()?;
    fixture.add_user("alice", &[])?;
    let sockets = [fixture.gateway_dir().join("gateway.sock"), fixture.controller_dir().join("controller.sock")];
    for socket in &sockets {
        assert_eq!(fs::metadata(socket)?.permissions().mode() & 0o777, 0o600, "{}", socket.display());
    }
    let root = fixture.gateway.host().command("id").arg("-u").run()?.ok()?.out() == "0"
        && fs::read_to_string("/proc/self/uid_map")?.split_whitespace().eq(["0", "0", "4294967295"]);
    if !root {
        println!("not root: nobody else's process can be run here; the sockets' modes are 0600");
        return Ok(());
    }
    let (setpriv, curl) = (installed("setpriv", "util-linux")?, installed("curl", "curl")?);
    let asking = |socket: &Path| {
        let words = ["-sS", "--http0.9", "--max-time", "2", "--unix-socket"];
        (words, [socket.display().to_string(), "http://localhost/".to_owned()])
    };
    let hosts = [fixture.gateway.host().clone(), fixture.controller.host().clone()];
    for (host, socket) in hosts.iter().zip(&sockets) {
        let (words, more) = asking(socket);
        let as_nobody = || host.command(&setpriv).args(NOBODY).arg(&curl).args(words).args(&more).run();
        // The file system refuses first.
        assert_eq!(as_nobody()?.exits(7)?.out(), "");
        for dir in [fixture.dir(), socket.parent().context("a directory")?] {
            fs::set_permissions(dir, Permissions::from_mode(0o755))?;
        }
        fs::set_permissions(socket, Permissions::from_mode(0o666))?;
        // Then the role: it closes without a word, as its log tells below. 52 is an empty answer, 55 and 56 are broken
        // connections, 7 is one that is closed before curl has looked at it.
        let refused = as_nobody()?;
        assert!(matches!(refused.code(), Some(7 | 52 | 55 | 56)) && refused.out().is_empty(), "{}", refused.err());
        // The owner is told what is wrong with a request that is none.
        let own = host.command(&curl).args(words).args(&more).run()?.out();
        assert!(own.contains("understood") || own.contains("malformed"), "{own}");
    }
    until(Duration::from_secs(5), "the refusals in the logs", || {
        let told = |role: &Role| role.log().contains("administration refused") && role.log().contains("65534");
        Ok((told(&fixture.gateway) && told(&fixture.controller)).then_some(()))
    })?;
    assert!(fixture.gateway.is_running()? && fixture.controller.is_running()?);
    Ok(())
}
