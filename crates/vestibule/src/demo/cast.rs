//! Who plays in the demo, where they live, and the commands that they are given.

use super::stage::{Stage, free_tcp, free_udp};
use crate::fault::Fault;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::Output;
use std::time::Duration;

/// Alice's password in the demo.
pub(crate) const PASSWORD: &str = "three otters under a lamp";
/// What somebody else thinks it is.
pub(crate) const WRONG_PASSWORD: &str = "three otters under a lamb";

/// Who may do what in the order-entry application: clerks place orders, managers read reports.
const GRANTS: &str = r#"
[guard.orders]
title = "Order entry"
owner = "the owner of this demo"

[[guard.orders.rules]]
who = "group:friends"
paths = ["/", "/orders"]

[[guard.orders.rules]]
who = "group:managers"
paths = ["/reports"]
"#;

/// How long a process may take to serve.
const UP_WITHIN: Duration = Duration::from_secs(20);

const CONTROLLER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 77, 0, 1));
const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 77, 0, 2));
const UPSTREAMS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 77, 0, 3));
/// Where the stranger's packets come from.
pub(crate) const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 77, 0, 66));
/// Where Alice's packets come from, and those of her neighbour behind the same address.
pub(crate) const ALICE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The stage, and where everybody is on it.
pub(crate) struct Cast {
    pub(crate) stage: Stage,
    pub(crate) controller: SocketAddr,
    pub(crate) gateway: SocketAddr,
    pub(crate) web: SocketAddr,
    pub(crate) tcp: SocketAddr,
    pub(crate) orders: SocketAddr,
    pub(crate) http_proxy: SocketAddr,
    pub(crate) socks_proxy: SocketAddr,
    pub(crate) forward: SocketAddr,
}

/// A link, as `invite` prints it.
#[derive(Deserialize)]
struct Invited {
    link: String,
}

/// A gateway, as the controller lists it.
#[derive(Deserialize)]
struct GatewayLine {
    state: String,
}

impl Cast {
    /// Chooses addresses; nobody plays yet.
    pub(crate) fn assemble() -> Result<Self, Fault> {
        Ok(Self {
            stage: Stage::new()?,
            controller: free_udp(CONTROLLER)?,
            gateway: free_udp(GATEWAY)?,
            web: free_tcp(UPSTREAMS)?,
            tcp: free_tcp(UPSTREAMS)?,
            orders: free_tcp(UPSTREAMS)?,
            http_proxy: free_tcp(ALICE)?,
            socks_proxy: free_tcp(ALICE)?,
            forward: free_tcp(ALICE)?,
        })
    }

    /// A role's directory, as an argument.
    pub(crate) fn dir(&self, role: &str) -> String {
        self.stage.path(role).display().to_string()
    }

    /// Starts the sample upstreams.
    pub(crate) fn start_upstreams(&mut self) -> Result<(), Fault> {
        for (name, sample, address) in [
            ("web upstream", "web", self.web),
            ("tcp upstream", "tcp", self.tcp),
            ("order-entry application", "orders", self.orders),
        ] {
            self.stage.start(name, &["demo-upstream", sample, &address.to_string()], None)?;
            self.stage.wait_for(name, UP_WITHIN, |_| TcpStream::connect(address).ok())?;
        }
        Ok(())
    }

    /// Makes and starts the controller.
    pub(crate) fn start_controller(&mut self) -> Result<(), Fault> {
        let dir = self.dir("controller");
        let address = self.controller.to_string();
        let init = ["controller", "init", "--dir", &dir, "--listen", &address, "--public", &address, "--json"];
        self.stage.ask::<serde_json::Value, _>(&init, None)?;
        self.stage.start("controller", &["controller", "run", "--dir", &dir], None)?;
        let status = ["controller", "status", "--dir", &dir, "--json"];
        self.stage.wait_for("the controller's start", UP_WITHIN, |stage| {
            stage.ask::<serde_json::Value, _>(&status, None).ok()
        })?;
        Ok(())
    }

    /// Makes a gateway, links it to the controller, and starts it.
    pub(crate) fn start_gateway(&mut self) -> Result<(), Fault> {
        let (controller_dir, dir) = (self.dir("controller"), self.dir("gateway"));
        let address = self.gateway.to_string();
        let invite = ["controller", "invite", "demo-gateway", "--dir", &controller_dir, "--json"];
        let invited: Invited = self.stage.ask(&invite, None)?;
        let init = [
            "gateway",
            "init",
            "--controller",
            "-",
            "--dir",
            &dir,
            "--listen",
            &address,
            "--public",
            &address,
            "--json",
        ];
        self.stage.ask::<serde_json::Value, _>(&init, Some(&format!("{}\n", invited.link)))?;
        self.configure_gateway()?;
        self.stage.start("gateway", &["gateway", "run", "--dir", &dir], None)?;
        let list = ["controller", "gateways", "--dir", &controller_dir, "--json"];
        self.stage.wait_for("the gateway's link", UP_WITHIN, |stage| {
            let lines: Vec<GatewayLine> = stage.ask(&list, None).ok()?;
            lines.iter().any(|line| line.state == "linked").then_some(())
        })
    }

    /// The owner writes down who may do what in the order-entry application, and that devices notice wrong passwords as well as
    /// they may: with the bits of the default the story would go otherwise once in 1,024 times, so it does once in 65,536.
    fn configure_gateway(&self) -> Result<(), Fault> {
        let file = self.stage.path("gateway").join("gateway.toml");
        let text = std::fs::read_to_string(&file);
        text.and_then(|text| {
            std::fs::write(
                &file,
                text.replace("typo_bits = 10", "typo_bits = 16").replace("door = \"auto\"", "door = \"socket\"")
                    + GRANTS,
            )
        })
        .map_err(|error| Fault::files(format!("{} can't be changed: {error}", file.display())))
    }

    /// The owner adds services and Alice, and invites her; the link.
    pub(crate) fn invite_alice(&mut self) -> Result<String, Fault> {
        let dir = self.dir("gateway");
        let web = format!("http://{}", self.web);
        let tcp = self.tcp.to_string();
        let orders = format!("http://{}", self.orders);
        for command in [
            vec!["service", "add", "web", "--web", &web, "--allow", "user:alice"],
            vec!["service", "add", "hello", "--tcp", &tcp, "--allow", "group:friends"],
            vec!["service", "add", "orders", "--web", &orders, "--allow", "group:friends"],
            vec!["user", "add", "alice", "--group", "friends"],
        ] {
            let command = [command, vec!["--dir", &dir, "--json"]].concat();
            self.stage.ask::<serde_json::Value, _>(&command, None)?;
        }
        let invited: Invited = self.stage.ask(&["invite", "alice", "--dir", &dir, "--json"], None)?;
        Ok(invited.link)
    }

    /// Alice enrols her device.
    pub(crate) fn enroll(&mut self, link: &str) -> Result<(), Fault> {
        let dir = self.dir("client");
        let enroll = ["enroll", "-", "--device-name", "laptop", "--dir", &dir, "--password-stdin", "--json"];
        self.stage.ask::<serde_json::Value, _>(&enroll, Some(&format!("{link}\n{PASSWORD}\n"))).map(drop)
    }

    /// One connection through the doors by a client process of its own.
    pub(crate) fn pipe(&self, password: &str) -> Result<Output, Fault> {
        let dir = self.dir("client");
        self.stage.run(&["pipe", "hello", "--alone", "--dir", &dir, "--password-stdin"], Some(&format!("{password}\n")))
    }

    /// Alice's `up`; ready when this returns.
    pub(crate) fn start_up(&mut self) -> Result<serde_json::Value, Fault> {
        let dir = self.dir("client");
        let (http, socks) = (self.http_proxy.to_string(), self.socks_proxy.to_string());
        let forward = format!("{}=hello", self.forward);
        let up = ["up", "--dir", &dir, "--http", &http, "--socks", &socks, "--forward", &forward, "--password-stdin"];
        self.stage.start("client", &up, Some(&format!("{PASSWORD}\n")))?;
        let status = ["status", "--dir", &dir, "--json"];
        self.stage.wait_for("alice's login", UP_WITHIN, |stage| stage.ask(&status, None).ok())
    }

    /// Datagrams that arrived at the two doors other than inside live connections: from the sockets' own counters.
    pub(crate) fn knocks_and_strangers(&self) -> Result<u64, Fault> {
        let mut sum = 0;
        for role in ["controller", "gateway"] {
            let status: serde_json::Value =
                self.stage.ask(&[role, "status", "--dir", &self.dir(role), "--json"], None)?;
            let counters = if role == "gateway" { &status["running"]["counters"] } else { &status["counters"] };
            let counters: Vec<(String, u64)> = serde_json::from_value(counters.clone())
                .map_err(|error| Fault::unexpected(format!("the {role}'s counters can't be read: {error}")))?;
            let count = |name: &str| {
                let named = counters.iter().filter(|(known, _)| known == &format!("datagrams.{name}"));
                named.map(|(_, value)| value).sum::<u64>()
            };
            // All that came up to the socket, less what belongs to a connection.
            sum += count("received") - count("quic_passed") + count("contacts");
        }
        Ok(sum)
    }
}
