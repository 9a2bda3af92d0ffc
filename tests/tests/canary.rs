//! T4: the password as a canary. After enrolments, logins, wrong tries and a change of password it is searched for wherever
//! somebody else could find it.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use vestibule_lab::{Capture, Context, Fixture, Person, Result, Role, Service, Upstream};

/// The words that every password of the lab has in common: longer than anything that stands somewhere by chance.
const CANARY: &[u8] = b"battery staple";
/// What the gateway has in its memory for sure.
const KNOWN: &[u8] = b"alice";

fn is_in(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            files(&entry.path(), found)?;
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// Whether the process's memory holds these bytes; `None` where it is closed even to who started it.
fn memory_holds(pid: u32, wanted: &[u8]) -> Result<Option<bool>> {
    let mut memory = match File::open(format!("/proc/{pid}/mem")) {
        Ok(memory) => memory,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut looked_at = 0;
    for line in fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().context("a range")?, words.next().context("rights")?);
        let (start, end) = range.split_once('-').context("a range")?;
        let (start, end) = (u64::from_str_radix(start, 16)?, u64::from_str_radix(end, 16)?);
        if !rights.starts_with("rw") {
            continue;
        }
        let mut bytes = vec![0; usize::try_from(end - start)?];
        memory.seek(SeekFrom::Start(start))?;
        // Some of what is mapped can't be read by anybody (guard pages); what was read until there counts.
        let length = read_as_far_as_possible(&mut memory, &mut bytes);
        looked_at += length;
        if is_in(&bytes[..length], wanted) {
            return Ok(Some(true));
        }
    }
    assert!(looked_at > 100_000, "only {looked_at} bytes of memory");
    Ok(Some(false))
}

fn read_as_far_as_possible(from: &mut impl Read, bytes: &mut [u8]) -> usize {
    let mut length = 0;
    while let Ok(more @ 1..) = from.read(&mut bytes[length..]) {
        length += more;
    }
    length
}

/// No core file is ever written: the limit is 0 and the process says that it must not be dumped, which shows in who owns
/// its files in /proc.
fn leaves_no_core(role: &Role) -> Result<()> {
    let limits = fs::read_to_string(format!("/proc/{}/limits", role.pid()))?;
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).context("a limit of core files")?;
    let numbers: Vec<&str> = core.split_whitespace().filter(|word| word.parse::<u64>().is_ok()).collect();
    assert_eq!(numbers, ["0", "0"], "{core}");
    Ok(())
}

fn search_memory(name: &str, role: &Role) -> Result<()> {
    if let Some(found) = memory_holds(role.pid(), CANARY)? {
        assert!(!found, "the password is in the memory of the {name}");
    }
    leaves_no_core(role)
}

fn connect(alice: &Person, password: &str) -> Result<vestibule_lab::Ran> {
    alice.vestibule(&["pipe", "echo", "--alone", "--password-stdin"])?.stdin(format!("{password}\n")).run()
}

#[test]
fn t04_the_password_is_nowhere_but_on_the_device() -> Result<()> {
    let mut fixture = Fixture::start()?;
    // Without typo bits wrong passwords leave the device, too.
    fixture.configure_gateway(|text| text.replace("typo_bits = 10", "typo_bits = 0"))?;
    let inside = fixture.network.host("inside")?;
    let echo = Upstream::echo(&inside, fixture.dir())?;
    fixture.add_service("echo", Service::Tcp(echo.address()), &["everyone"])?;
    fixture.add_user("alice", &[])?;
    let alice = fixture.add_device("alice", "alice")?;
    let link = fixture.invite("alice")?;

    let capture = Capture::start(&alice.host)?;
    alice.enroll(&link)?.run()?.ok()?;
    connect(&alice, &alice.password)?.ok()?;
    connect(&alice, &format!("{} not", alice.password))?.exits(22)?;
    connect(&alice, &alice.password)?.ok()?;
    let up = alice.up(&[])?;

    // A session stands: what the roles know of it they know now.
    if let Some(found) = memory_holds(fixture.gateway.pid(), KNOWN)? {
        assert!(found, "the search finds what is there");
    }
    search_memory("gateway", &fixture.gateway)?;
    search_memory("controller", &fixture.controller)?;
    drop(up);
    let packets = capture.stop()?;
    assert!(packets.len() > 40, "{} packets", packets.len());
    packets.holding(CANARY).expect_none("the password on the wire")?;

    // All files: databases with what stands beside them, keys, logs of all roles and of the person's own commands.
    let mut all = Vec::new();
    files(fixture.dir(), &mut all)?;
    assert!(
        all.iter().any(|file| file.ends_with("gateway.db")) && all.iter().any(|file| file.ends_with("gateway.log"))
    );
    for file in all {
        assert!(!is_in(&fs::read(&file)?, CANARY), "the password is in {}", file.display());
    }
    Ok(())
}
