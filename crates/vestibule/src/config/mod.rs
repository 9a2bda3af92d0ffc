//! Configuration: one TOML file per role. Unknown keys are errors that name the line and the nearest known key.

pub(crate) mod check;
mod client;
mod controller;
mod gateway;
mod guard;
mod reading;

pub(crate) use client::ClientConfig;
pub(crate) use controller::ControllerConfig;
pub(crate) use gateway::{DoorConfig, GatewayConfig};
pub(crate) use guard::{AppConfig, GuardFileConfig, GuardSessionConfig, TlsConfig, default_listen};
#[cfg(test)]
pub(crate) use reading::parse;
pub(crate) use reading::{Checked, load};

use crate::fault::Fault;
use serde::{Deserialize, Deserializer, de::Error};
use std::net::SocketAddr;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// How a role logs.
#[derive(Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogConfig {
    /// `human` or `json`.
    pub(crate) format: LogFormat,
    /// What is logged, in the filter syntax of tracing: `info`, `debug`, `vestibule_gateway=debug,info`…
    pub(crate) filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Human, filter: "info".to_owned() }
    }
}

impl LogConfig {
    /// Whether the filter is one.
    ///
    /// # Errors
    /// Exit code 40 and what is wrong with it.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        EnvFilter::builder().parse(&self.filter).map(drop).map_err(|error| {
            Fault::configuration(format!("`filter` is `{}`: {error}", self.filter))
                .next("use error, warn, info or debug, or for example `info,vestibule_gateway=debug`")
        })
    }
}

/// How log lines look.
#[derive(Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Parses `90s`, `30m`, `12h`, `7d`: a whole number and a unit, at most ten years.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    const TEN_YEARS: u64 = 10 * 365 * 86_400;
    let wrong = || format!("`{text}` is not a time: write a number and s, m, h or d, as in 90s, 30m, 12h, 7d");
    let split = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let total = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds)).ok_or_else(wrong)?;
    if total == 0 || total > TEN_YEARS {
        return Err(format!("`{text}` is out of range: from 1s to 3650d"));
    }
    Ok(Duration::from_secs(total))
}

/// Parses an IP address and a port.
pub(crate) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "`{text}` is not an IP address and a port, as in 203.0.113.7:4434 or [::]:4434 (names are not looked up)"
        )
    })
}

/// Serde for a time written as in [`parse_span`].
pub(crate) fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_span(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_a_number_and_a_unit() {
        for (text, seconds) in [("1s", 1), ("90s", 90), ("30m", 1_800), ("12h", 43_200), ("7d", 604_800)] {
            assert_eq!(parse_span(text), Ok(Duration::from_secs(seconds)));
        }
        for wrong in ["", "s", "12", "1w", "-1s", "1.5h", "0s", "99999999999999999999d", "3651d", "1h30m"] {
            assert!(parse_span(wrong).is_err(), "{wrong}");
        }
    }
}
