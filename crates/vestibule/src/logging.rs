//! Logs: to stderr, for people or as JSON lines.

use crate::config::{LogConfig, LogFormat};
use std::io::IsTerminal;
use std::sync::OnceLock;
use tracing_subscriber::EnvFilter;

/// Puts another filter in the place of the running one.
type Refilter = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

static REFILTER: OnceLock<Refilter> = OnceLock::new();

/// Starts logging as the configuration says; `RUST_LOG` overrides the filter.
pub(crate) fn start(config: &LogConfig) {
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter(config)).with_writer(std::io::stderr).with_target(false);
    // A second start (in tests) keeps the first: that is no error.
    let _ = match config.format {
        LogFormat::Human => {
            let builder = builder.with_ansi(std::io::stderr().is_terminal()).with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = REFILTER.set(Box::new(move |filter| handle.reload(filter).is_ok()));
            builder.try_init()
        }
        LogFormat::Json => {
            // The format comes before the handle, whose type bears it.
            let format = tracing_subscriber::fmt::format().json().flatten_event(true);
            let builder = builder
                .fmt_fields(tracing_subscriber::fmt::format::JsonFields::new())
                .event_format(format)
                .with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = REFILTER.set(Box::new(move |filter| handle.reload(filter).is_ok()));
            builder.try_init()
        }
    };
}

/// Takes the filter of a changed configuration. The format stays what it was at the start.
pub(crate) fn reload(config: &LogConfig) {
    if REFILTER.get().is_some_and(|refilter| !refilter(filter(config))) {
        tracing::warn!("the log's filter could not be changed");
    }
}

fn filter(config: &LogConfig) -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(&config.filter))
}
