//! What `packaging/` brings is accepted by the service manager it is for, and fits the program.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use vestibule_lab::{Context, Failure, Host, Result, program};

const SYSTEM_UNITS: [&str; 3] =
    ["vestibule-controller.service", "vestibule-gateway.service", "vestibule-guard.service"];
const USER_UNIT: &str = "vestibule-up.service";
/// `systemd-analyze security` in tenths: 0 is closed, 100 is open. A service without any restriction has 96.
const EXPOSURE: &str = "--threshold=15";
const SOON: Duration = Duration::from_secs(20);
const INSTALLED: &str = "/usr/bin/vestibule";

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging")
}

/// A copy of a unit that names the program where it is built.
fn with_built_program(unit: &Path, dir: &Path) -> Result<PathBuf> {
    let text = fs::read_to_string(unit)?.replace(INSTALLED, &program()?.display().to_string());
    let copy = dir.join(unit.file_name().expect("a unit has a name"));
    fs::write(&copy, text)?;
    Ok(copy)
}

#[test]
fn system_units_are_valid_and_closed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    for name in SYSTEM_UNITS {
        let unit = with_built_program(&packaging().join("systemd").join(name), dir.path())?;
        let verified = Host::here().command("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).run()?.ok()?;
        assert_eq!(verified.err(), "", "{name}");
        let text = fs::read_to_string(&unit)?;
        let user = format!("User={}", name.trim_end_matches(".service"));
        for setting in [user.as_str(), "ProtectSystem=strict"] {
            assert!(text.lines().any(|line| line == setting), "{name} without {setting}");
        }
        let security = ["security", "--offline=true", "--no-pager", EXPOSURE];
        Host::here().command("systemd-analyze").args(security).arg(&unit).run()?.ok()?;
    }
    Ok(())
}

/// With the drop-in the gateway's unit is valid as well, and opens by what the drop-in gives it alone.
#[test]
fn the_drop_ins_of_the_kernel_s_doors_give_their_capabilities_alone() -> Result<()> {
    for (file, capabilities) in [("nftables.conf", "CAP_NET_ADMIN"), ("xdp.conf", "CAP_BPF CAP_NET_ADMIN")] {
        drop_in(file, capabilities)?;
    }
    Ok(())
}

fn drop_in(file: &str, capabilities: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let unit = with_built_program(&packaging().join("systemd/vestibule-gateway.service"), dir.path())?;
    let beside = dir.path().join("vestibule-gateway.service.d");
    fs::create_dir(&beside)?;
    let verify = || Host::here().command("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).run();
    fs::write(beside.join(file), "[Service]\nNoSuchSetting=1\n")?;
    assert!(verify()?.err().contains("NoSuchSetting"), "drop-ins beside a unit are looked at");
    fs::copy(packaging().join("systemd/vestibule-gateway.service.d").join(file), beside.join(file))?;
    assert_eq!(verify()?.ok()?.err(), "");
    let text = fs::read_to_string(beside.join(file))?;
    let given: Vec<_> = text.lines().filter(|line| line.contains("Capabilit")).collect();
    let expected = ["CapabilityBoundingSet", "AmbientCapabilities"].map(|set| format!("{set}={capabilities}"));
    assert_eq!(given, expected);
    Ok(())
}

#[test]
fn the_user_unit_is_valid() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let unit = with_built_program(&packaging().join("systemd/user").join(USER_UNIT), dir.path())?;
    let verify = Host::here().command("systemd-analyze").args(["--user", "verify", "--man=no"]).arg(&unit);
    let verified = verify.env("XDG_RUNTIME_DIR", dir.path()).run()?.ok()?;
    assert!(!verified.err().contains(USER_UNIT), "{}", verified.err());
    Ok(())
}

#[test]
fn units_give_commands_that_the_program_knows() -> Result<()> {
    let mut started = Vec::new();
    let units = SYSTEM_UNITS.map(|name| packaging().join("systemd").join(name));
    for unit in units.into_iter().chain([packaging().join("systemd/user").join(USER_UNIT)]) {
        let text = fs::read_to_string(&unit)?;
        let start =
            text.lines().find_map(|line| line.strip_prefix("ExecStart=")).ok_or_else(|| Failure::new("no start"))?;
        let words = start.strip_prefix(INSTALLED).ok_or_else(|| Failure::new(format!("not the program: {start}")))?;
        Host::here().command(program()?).args(words.split_whitespace()).arg("--help").run()?.ok()?;
        started.push(words.trim().to_owned());
    }
    assert_eq!(started[0], "controller run --dir /var/lib/vestibule/controller");
    assert_eq!(started[1], "gateway run --dir /var/lib/vestibule/gateway");
    assert_eq!(started[2], "guard --dir /var/lib/vestibule/guard");
    Ok(())
}

#[test]
fn the_program_brings_the_manual_pages_that_units_name_and_completions() -> Result<()> {
    let pages = tempfile::tempdir()?;
    Host::here().command(program()?).arg("man").arg(pages.path()).run()?.ok()?;
    for unit in [
        "systemd/vestibule-controller.service",
        "systemd/vestibule-gateway.service",
        "systemd/vestibule-guard.service",
        "systemd/user/vestibule-up.service",
    ] {
        let text = fs::read_to_string(packaging().join(unit))?;
        let named = text.lines().find_map(|line| line.strip_prefix("Documentation=man:")?.strip_suffix("(1)"));
        let page =
            pages.path().join(named.ok_or_else(|| Failure::new(format!("{unit} names no page")))?.to_owned() + ".1");
        assert!(fs::read_to_string(&page)?.contains(".TH"), "{}", page.display());
    }
    for (shell, words) in [("bash", "complete -F"), ("zsh", "#compdef vestibule"), ("fish", "complete -c vestibule")] {
        Host::here().command(program()?).args(["completions", shell]).run()?.ok()?.says(words)?;
    }
    Ok(())
}

#[test]
fn each_role_has_a_user_and_a_directory_of_its_own() -> Result<()> {
    let root = tempfile::tempdir()?;
    fs::create_dir(root.path().join("etc"))?;
    let option = format!("--root={}", root.path().display());
    let at_root = |program: &str, words: &[&str], file: &str| {
        let file = fs::canonicalize(packaging().join(file))?;
        Host::here().command(program).arg(&option).args(words).arg(file).run()?.ok()
    };
    at_root("systemd-sysusers", &[], "sysusers.d/vestibule.conf")?;
    let passwd = fs::read_to_string(root.path().join("etc/passwd"))?;
    let id = |user: &str| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(user));
        line.and_then(|line| line.split(':').nth(2)).and_then(|id| id.parse::<u32>().ok())
    };
    let roles = ["controller", "gateway", "guard"].map(|role| (role, id(&format!("vestibule-{role}"))));
    let apart: BTreeSet<_> = roles.iter().filter_map(|(_, id)| *id).collect();
    assert_eq!(apart.len(), roles.len(), "{passwd}");

    if Host::here().command("id").arg("-u").run()?.ok()?.out() != "0" {
        eprintln!("skipped: only root can give directories away");
        return Ok(());
    }
    at_root("systemd-tmpfiles", &["--create"], "tmpfiles.d/vestibule.conf")?;
    for (role, owner) in roles {
        let directory = fs::metadata(root.path().join("var/lib/vestibule").join(role))?;
        assert_eq!((Some(directory.uid()), directory.permissions().mode() & 0o7777), (owner, 0o700), "{role}");
    }
    Ok(())
}

/// Gives the rest of its words a system on which nothing but the directory `$1` can be written to, and no privilege.
const AS_A_UNIT: &str = r#"
    mount --bind "$1" "$1"
    findmnt --noheadings --raw --output TARGET | while read -r at; do
        test "$at" = "$1" || mount -o remount,bind,ro "$at" 2>/dev/null || true
    done
    for at in /usr /etc /tmp "$1/.."; do ! touch "$at/.written" 2>/dev/null || { echo "$at is writable"; exit 99; }; done
    cd / && shift
    exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all "$@"
"#;

#[test]
fn roles_run_without_privileges_on_a_read_only_system_by_the_commands_of_their_units() -> Result<()> {
    if Host::here().command("id").arg("-u").run()?.ok()?.out() != "0" {
        eprintln!("skipped: only root can make a system read-only");
        return Ok(());
    }
    let (host, dir) = (Host::solitary("server")?, tempfile::tempdir()?);
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let (binary, state) = (dir.path().join("vestibule"), dir.path().join("state"));
    fs::copy(program()?, &binary)?;
    fs::create_dir(&state)?;
    std::os::unix::fs::chown(&state, Some(65534), Some(65534))?;
    let as_a_unit = |words: &str| {
        let words = words.replace(INSTALLED, &binary.display().to_string());
        let words = words.replace("/var/lib/vestibule", &state.display().to_string());
        let unshare = ["--mount", "--propagation=private", "sh", "-euc", AS_A_UNIT, "sh"];
        host.command("unshare").args(unshare).arg(&state).args(words.split(' '))
    };
    let started = |role: &str| {
        let unit = fs::read_to_string(packaging().join(format!("systemd/vestibule-{role}.service")))?;
        let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).context("a command")?;
        as_a_unit(command).spawn(dir.path().join(format!("{role}.log")))
    };

    let at_controller = "--dir /var/lib/vestibule/controller";
    as_a_unit(&format!("{INSTALLED} controller init {at_controller} --public 127.0.0.1:4433")).run()?.ok()?;
    let invited = as_a_unit(&format!("{INSTALLED} controller invite office {at_controller}")).run()?.ok()?.out();
    let link = invited.split_whitespace().find(|word| word.starts_with("vestibule-gateway:")).context("a link")?;
    let init = format!("{INSTALLED} gateway init --dir /var/lib/vestibule/gateway --controller {link}");
    as_a_unit(&format!("{init} --public 127.0.0.1:4434")).run()?.ok()?;

    let (mut controller, mut gateway) = (started("controller")?, started("gateway")?);
    controller.wait_for_log("gateway linked", SOON)?;
    gateway.wait_for_log("linked to the controller", SOON)?;
    for role in [&mut gateway, &mut controller] {
        let status = fs::read_to_string(format!("/proc/{}/status", role.pid()))?;
        for line in ["Uid:\t65534\t65534", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
            assert!(status.contains(line), "{line}: {status}");
        }
        Host::here().command("kill").arg(role.pid().to_string()).run()?.ok()?;
        assert_eq!(role.wait(SOON)?, 0, "{}", role.log_tail());
    }
    Ok(())
}
