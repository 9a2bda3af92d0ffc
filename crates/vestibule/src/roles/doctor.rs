//! `vestibule gateway doctor`: what each kind of door lacks here.

use crate::config::{DoorConfig, GatewayConfig};
use crate::directories::Role;
use crate::fault::Fault;
use crate::output::Output;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use vestibule_gateway::{DirectError, DoorFinding, DoorLack, direct_finding, door_findings, door_interfaces};

/// One kind of door.
#[derive(Serialize, Debug, PartialEq, Eq)]
struct Row {
    door: &'static str,
    works: bool,
    /// Whether the gateway takes it at its next start; with a door that is named also if it does not work.
    chosen: bool,
    lacks: Option<String>,
    next: Option<&'static str>,
}

/// Prints a row for each kind of door.
///
/// # Errors
/// Exit code 40 if the configuration can't be read, and if it wants a door that doesn't work here.
pub(super) fn run(dir: &Path, output: &Output) -> Result<ExitCode, Fault> {
    super::must_exist(Role::Gateway, dir)?;
    let config: GatewayConfig = super::gateway::load(&Role::Gateway.configuration(dir))?;
    let services = config.services()?;
    let interfaces = door_interfaces(config.door.into(), &config.door_interfaces, &services);
    let mut rows = rows(config.door, &door_findings(&config.listen, interfaces));
    rows.extend(direct_finding(config.door.into(), &config.listen, &services).map(direct_row));
    output.list(&rows, &["door", "works here", "chosen", "lacks", "what to do"], |row| {
        let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        let next = row.next.map(str::to_owned).unwrap_or_default();
        vec![row.door.to_owned(), word(row.works), word(row.chosen), row.lacks.clone().unwrap_or_default(), next]
    })?;
    let starts = rows.iter().filter(|row| row.chosen).all(|row| row.works);
    Ok(if starts { ExitCode::SUCCESS } else { ExitCode::from(crate::fault::CONFIGURATION) })
}

/// What the configuration's direct services lack.
fn direct_row(works: Result<(), DirectError>) -> Row {
    let lack = works.err();
    Row {
        door: "direct services",
        works: lack.is_none(),
        chosen: true,
        lacks: lack.map(|lack| lack.to_string()),
        next: lack.map(DirectError::next_step),
    }
}

fn rows(wanted: DoorConfig, findings: &[DoorFinding]) -> Vec<Row> {
    let best = findings.iter().find(|finding| finding.works.is_ok()).map(|finding| finding.name);
    let chosen = match wanted {
        DoorConfig::Auto => best,
        DoorConfig::Socket => Some("socket"),
        DoorConfig::Nftables => Some("nftables"),
        DoorConfig::Xdp => Some("xdp"),
    };
    let row = |finding: &DoorFinding| {
        let lack = finding.works.as_ref().err();
        Row {
            door: finding.name,
            works: lack.is_none(),
            chosen: chosen == Some(finding.name),
            lacks: lack.map(ToString::to_string),
            next: lack.map(DoorLack::next_step),
        }
    };
    findings.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_gateway::{NftablesError, XdpError};

    fn findings(nftables: Result<(), DoorLack>, xdp: Result<(), DoorLack>) -> Vec<DoorFinding> {
        [("nftables", nftables), ("socket", Ok(())), ("xdp", xdp)]
            .map(|(name, works)| DoorFinding { name, works })
            .to_vec()
    }

    fn chosen(wanted: DoorConfig, nftables: Result<(), DoorLack>, xdp: Result<(), DoorLack>) -> Vec<(bool, bool)> {
        rows(wanted, &findings(nftables, xdp)).iter().map(|row| (row.works, row.chosen)).collect()
    }

    #[test]
    fn the_best_that_works_is_chosen_and_what_is_lacking_is_said() {
        let no_xdp = || Err(DoorLack::Xdp(XdpError::NoPrivilege));
        let no_nftables = || Err(DoorLack::Nftables(NftablesError::NoPrivilege));
        let (yes, no, spare) = ((true, true), (false, false), (true, false));
        assert_eq!(chosen(DoorConfig::Auto, Ok(()), Ok(())), [yes, spare, spare]);
        assert_eq!(chosen(DoorConfig::Auto, no_nftables(), no_xdp()), [no, yes, no]);
        assert_eq!(chosen(DoorConfig::Xdp, Ok(()), Ok(())), [spare, spare, yes]);
        assert_eq!(chosen(DoorConfig::Xdp, Ok(()), no_xdp()), [spare, spare, (false, true)]);
        assert_eq!(chosen(DoorConfig::Nftables, no_nftables(), Ok(())), [(false, true), spare, spare]);
        assert_eq!(chosen(DoorConfig::Socket, Ok(()), Ok(())), [spare, yes, spare]);
        let rows = rows(DoorConfig::Auto, &findings(no_nftables(), no_xdp()));
        for (row, name) in [(&rows[0], "CAP_NET_ADMIN"), (&rows[2], "CAP_BPF")] {
            assert!(row.lacks.as_ref().is_some_and(|lacks| lacks.contains(name)) && row.next.is_some());
        }
    }
}
