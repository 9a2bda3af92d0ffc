//! `controller.toml`.

use super::{Checked, LogConfig};
use crate::fault::Fault;
use serde::Deserialize;
use std::net::SocketAddr;
use vestibule_proto::recognition::Limits;

/// The controller's configuration.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct ControllerConfig {
    /// UDP addresses to listen on; knocks and gateway links share them.
    pub(crate) listen: Vec<SocketAddr>,
    /// `host:port` under which clients and gateways reach this controller; goes into every invitation.
    pub(crate) public: Vec<String>,
    /// How many devices and invitations one gateway may publish, of the 1,000,000 that a controller holds for all.
    #[serde(default = "default_share")]
    pub(crate) rows_per_gateway: usize,
    /// How it logs.
    #[serde(default)]
    pub(crate) log: LogConfig,
}

fn default_share() -> usize {
    Limits::default().rows_per_gateway
}

impl Checked for ControllerConfig {
    fn check(&self) -> Result<(), Fault> {
        if self.listen.is_empty() {
            return Err(Fault::configuration("`listen` is empty: the controller needs a UDP address"));
        }
        if self.public.is_empty() || self.public.len() > 4 {
            return Err(Fault::configuration("`public` has one to four addresses"));
        }
        if !(1..=Limits::default().rows).contains(&self.rows_per_gateway) {
            return Err(Fault::configuration(format!("`rows_per_gateway` is 1 to {}", Limits::default().rows)));
        }
        self.public
            .iter()
            .try_for_each(|public| crate::roles::check_host_port(public).map_err(Fault::into_configuration))?;
        self.log.check()
    }
}

impl ControllerConfig {
    /// The text of a new configuration file.
    pub(crate) fn template(listen: &[SocketAddr], public: &[String]) -> String {
        format!(
            "# The controller's configuration. `vestibule check` validates it; SIGHUP or saving it reloads [log].\n\n\
             # UDP addresses to listen on. There is no TCP port.\n\
             listen = {}\n\n\
             # How clients and gateways reach this controller.\n\
             public = {}\n\n\
             [log]\n# human or json\nformat = \"human\"\nfilter = \"info\"\n",
            super::gateway::toml_list(listen),
            super::gateway::toml_list(public),
        )
    }
}
