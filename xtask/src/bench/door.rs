//! The gateway's doors in the kernel: `nftables` beside a bare socket to the same kernel, beside `nft`, and beside a bare rule;
//! `xdp` beside a bare map, and beside a program that looks once at one.

use std::collections::HashMap;
use std::process::{Command, Stdio};

use super::connect::example;
use super::{Effort, Row};
use crate::run::{self, Result, output, which};

/// What it has, in its order: each may be measured alone.
const PARTS: [&str; 3] = ["nftables", "xdp", "direct"];

/// Measures the back ends `nftables` and `xdp`, and direct services. They take network namespaces, and `xdp` takes root.
pub(crate) fn door(effort: Effort, only: Option<&str>) -> Result<Vec<Row>> {
    if let Some(unknown) = only.filter(|part| !PARTS.contains(part)) {
        return Err(format!("no part {unknown:?}; there are {}", PARTS.join(", ")).into());
    }
    let mut rows = Vec::new();
    for part in PARTS.into_iter().filter(|part| only.is_none_or(|only| only == *part)) {
        rows.extend(match part {
            "nftables" => nftables()?,
            "xdp" => xdp()?,
            _ => direct(effort)?,
        });
    }
    Ok(rows)
}

fn nftables() -> Result<Vec<Row>> {
    if which("nft").is_none() {
        return Ok(vec![Row::skipped("the door in the kernel", "us", "nft not installed (Debian package nftables)")]);
    }
    let numbers = measured("cost")?;
    let get = |name: &str| numbers.get(name).copied().ok_or_else(|| format!("no `{name}` was measured"));
    let mut rows = Vec::new();
    for live in ["1", "1000", "100000"] {
        let (ours, bare) = (get(&format!("admission_us_{live}"))?, get(&format!("bare_us_{live}"))?);
        rows.push(Row::new(format!("admission, {live} live, p50"), ours, "us").note("for QUIC and TCP"));
        rows.push(Row::new("… processor time", get(&format!("admission_cpu_us_{live}"))?, "us").at_most(10.0));
        rows.push(Row::new("… one element over a bare socket, p50", bare, "us"));
        rows.push(Row::new("… of that", ours / bare, "x").at_most(3.0));
    }
    let exec = get("exec_us")?;
    rows.push(Row::new("one element by running `nft`, p50", exec, "us"));
    rows.push(Row::new("… of an admission, 1000 live", exec / get("admission_us_1000")?, "x").at_least(200.0));
    let anew = Row::new("admissions written in batches", get("anew_per_s")?, "1/s").at_least(100_000.0);
    rows.push(anew.note("a deleted table made anew with 100,000"));
    rows.extend(strangers(&get)?);
    Ok(rows)
}

/// What a dropped packet costs, without what it costs to send one.
fn strangers(get: &impl Fn(&str) -> std::result::Result<f64, String>) -> Result<Vec<Row>> {
    let sent = get("sent_ns")?;
    let bare = get("bare_drop_ns")? - sent;
    let mut rows = vec![Row::new("a stranger's packet, bare rule at the same hook", bare, "ns")];
    for (name, which) in [
        ("door_drop_ns", "listening at one address"),
        ("door_in_drop_ns", "the same with 1000 sources in"),
        ("door_any_drop_ns", "listening at all addresses"),
    ] {
        let ours = get(name)? - sent;
        rows.push(Row::new(format!("… the door, {which}"), ours, "ns"));
        rows.push(Row::new("… drop rate of the bare rule's", bare / ours, "x").at_least(0.9));
    }
    let like_a_tag = get("door_tag_drop_ns")? - sent;
    rows.push(Row::new("… the door, a packet with a tag's length", like_a_tag, "ns").note("two exact look-ups"));
    rows.push(Row::new("… at a socket that nobody reads", get("socket_full_ns")? - sent, "ns"));
    Ok(rows)
}

fn xdp() -> Result<Vec<Row>> {
    if !is_root()? {
        return Ok(vec![Row::skipped("the door in the drivers", "us", "root alone may load programs for drivers")]);
    }
    let numbers = measured("cost_xdp")?;
    let get = |name: &str| numbers.get(name).copied().ok_or_else(|| format!("no `{name}` was measured"));
    let mut rows = Vec::new();
    for live in ["1", "1000", "100000"] {
        let (ours, bare) = (get(&format!("xdp_admission_us_{live}"))?, get(&format!("xdp_bare_us_{live}"))?);
        rows.push(Row::new(format!("xdp: admission, {live} live, p50"), ours, "us").note("for QUIC and TCP"));
        rows.push(Row::new("… processor time", get(&format!("xdp_admission_cpu_us_{live}"))?, "us").at_most(10.0));
        rows.push(Row::new("… one update of a bare map, p50", bare, "us"));
        rows.push(
            Row::new("… of that", ours / bare, "x").note("with what user space keeps; the goal is told of netlink"),
        );
    }
    let (ours, bare) = (get("xdp_program_ns")?, get("xdp_bare_program_ns")?);
    rows.push(Row::new("xdp: the program alone, a stranger's packet", ours, "ns"));
    rows.push(Row::new("… one that looks once at a map", bare, "ns"));
    let made = get("xdp_made_ns")?;
    let took = |name: &str| Ok::<f64, String>(get(name)? - made);
    let (door, look) = (took("xdp_door_ns")?, took("xdp_bare_look_ns")?);
    rows.push(Row::new("xdp: a stranger's packet, dropped unseen", took("xdp_bare_drop_ns")?, "ns"));
    rows.push(Row::new("… after one look at a map", look, "ns"));
    rows.push(Row::new("… by the door", door, "ns"));
    rows.push(Row::new("… packets on one core", 1e3 / door, "M/s").at_least(2.0));
    rows.push(Row::new("… of the rate of one look", look / door, "x").at_least(0.8));
    Ok(rows)
}

fn is_root() -> Result<bool> {
    Ok(output(Command::new("id").arg("-u"))?.trim() == "0")
}

/// Builds and runs an example of the door, in a network of its own.
fn measured(name: &str) -> Result<HashMap<String, f64>> {
    let words = ["build", "--release", "--quiet", "--package=vestibule-door", "--example", name];
    if !run::cargo(&words).stdout(Stdio::null()).status()?.success() {
        return Err("the release can't be built".into());
    }
    let user: &[&str] = if is_root()? { &[] } else { &["-U", "-r"] };
    let text = output(Command::new("unshare").args(user).args(["-n", "-m", "--"]).arg(example(name)))?;
    Ok(named_numbers(&text))
}

/// Direct services, in namespaces of the lab.
fn direct(effort: Effort) -> Result<Vec<Row>> {
    let programs = ["--package=vestibule", "--package=vestibule-lab", "--bins"];
    let examples =
        ["--package=vestibule-scenarios", "--package=vestibule-client", "--example", "direct", "--example", "drain"];
    for words in [&programs[..], &examples] {
        if !run::cargo(&["build", "--release", "--quiet"]).args(words).stdout(Stdio::null()).status()?.success() {
            return Err("the release can't be built".into());
        }
    }
    let mut measuring = Command::new(example("direct"));
    measuring.arg(effort.pick(9, 3).to_string()).env("VESTIBULE_LAB_PROGRAMS", run::target().join("release"));
    let numbers = named_numbers(&output(&mut measuring)?);
    let get = |name: &str| numbers.get(name).copied().ok_or_else(|| format!("no `{name}` was measured"));
    let (plain, direct) = (get("plain_gbits")?, get("direct_gbits")?);
    Ok(vec![
        Row::new("one stream, plain TCP through the same veth", plain, "Gbit/s"),
        Row::new("one stream, direct service", direct, "Gbit/s"),
        Row::new("… of plain TCP", direct / plain, "x").at_least(0.95),
        Row::new("one stream, the same through the tunnel", get("tunnel_gbits")?, "Gbit/s"),
        Row::new("one stream, direct, by a local port of `up`", get("direct_port_gbits")?, "Gbit/s"),
        Row::new("one stream, through the tunnel, by a local port", get("tunnel_port_gbits")?, "Gbit/s"),
        Row::new("`session revoke` to the last byte of a direct flow, p50", get("direct_end_ms")?, "ms"),
        Row::new("… worst", get("direct_end_worst_ms")?, "ms").at_most(100.0),
    ])
}

/// Lines of a name and a number, as measuring examples print them.
pub(super) fn named_numbers(text: &str) -> HashMap<String, f64> {
    let line = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}
