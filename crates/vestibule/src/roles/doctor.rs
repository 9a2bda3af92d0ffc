//! `vestibule gateway doctor`: what each kind of door lacks here.

use crate::config::{DoorConfig, GatewayConfig};
use crate::directories::Role;
use crate::fault::Fault;
use crate::output::Output;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use vestibule_gateway::{DoorFinding, door_findings};

/// One kind of door.
#[derive(Serialize, Debug, PartialEq, Eq)]
struct Row {
    door: &'static str,
    works: bool,
    /// Whether the gateway takes it at its next start; with `door = "nftables"` also if it does not work.
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
    let rows = rows(config.door, &door_findings(&config.listen));
    output.list(&rows, &["door", "works here", "chosen", "lacks", "what to do"], |row| {
        let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        let next = row.next.map(str::to_owned).unwrap_or_default();
        vec![row.door.to_owned(), word(row.works), word(row.chosen), row.lacks.clone().unwrap_or_default(), next]
    })?;
    let starts = rows.iter().any(|row| row.chosen && row.works);
    Ok(if starts { ExitCode::SUCCESS } else { ExitCode::from(crate::fault::CONFIGURATION) })
}

fn rows(wanted: DoorConfig, findings: &[DoorFinding]) -> Vec<Row> {
    let best = findings.iter().find(|finding| finding.works.is_ok()).map(|finding| finding.name);
    let chosen = match wanted {
        DoorConfig::Auto => best,
        DoorConfig::Socket => Some("socket"),
        DoorConfig::Nftables => Some("nftables"),
    };
    let row = |finding: &DoorFinding| {
        let lack = finding.works.err();
        Row {
            door: finding.name,
            works: lack.is_none(),
            chosen: chosen == Some(finding.name),
            lacks: lack.map(|lack| lack.to_string()),
            next: lack.map(|lack| lack.next_step()),
        }
    };
    findings.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_gateway::NftablesError;

    fn chosen(wanted: DoorConfig, works: Result<(), NftablesError>) -> Vec<(&'static str, bool, bool)> {
        let findings = [DoorFinding { name: "nftables", works }, DoorFinding { name: "socket", works: Ok(()) }];
        rows(wanted, &findings).iter().map(|row| (row.door, row.works, row.chosen)).collect()
    }

    #[test]
    fn the_best_that_works_is_chosen_and_what_is_lacking_is_said() {
        let lack = Err(NftablesError::NoPrivilege);
        assert_eq!(chosen(DoorConfig::Auto, Ok(())), [("nftables", true, true), ("socket", true, false)]);
        assert_eq!(chosen(DoorConfig::Auto, lack), [("nftables", false, false), ("socket", true, true)]);
        assert_eq!(chosen(DoorConfig::Nftables, lack), [("nftables", false, true), ("socket", true, false)]);
        assert_eq!(chosen(DoorConfig::Socket, Ok(())), [("nftables", true, false), ("socket", true, true)]);
        let findings = [DoorFinding { name: "nftables", works: lack }];
        let [row] = &rows(DoorConfig::Auto, &findings)[..] else { panic!("one row") };
        assert!(row.lacks.as_ref().is_some_and(|lacks| lacks.contains("CAP_NET_ADMIN")) && row.next.is_some());
    }
}
