//! A bad line: what goes over a host's wire is delayed, lost, and overtaken.
//!
//! The kernel's own means for this (`tc … netem`) is missing from many kernels. So the host's port is taken off the bridge, and
//! its frames make a detour: a VXLAN device hands them to `lab-peer line`, on a host of its own because the kernel doesn't wrap
//! what stays on this one, and that process hands them, late or never, to a second device which hangs on the bridge in the
//! port's place. Frames of every protocol go this way.

use std::{net::Ipv4Addr, time::Duration};

use crate::{Context, Host, Network, Result, Running, holder::Holder, peer, place::Place};

const UP_WITHIN: Duration = Duration::from_secs(10);

/// How bad a line is, in both directions.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Line {
    /// How many of 100 frames are lost.
    pub loss: u8,
    /// How long each frame takes.
    pub delay: Duration,
    /// How many of 100 frames take `late` longer and so are overtaken.
    pub reordered: u8,
    /// See there.
    pub late: Duration,
    /// Chooses which: the same number, the same choice for the n-th frame.
    pub seed: u64,
}

/// A line made bad; good again when this is dropped.
pub struct BadLine<'a> {
    network: &'a Network,
    port: u8,
    _running: Running,
    _log: tempfile::TempDir,
}

impl Network {
    /// Makes the line of a host bad that hangs on this wire by its `eth0`.
    ///
    /// # Errors
    /// The system refuses; its kernel has no VXLAN.
    pub fn worsen<'a>(&'a self, host: &Host, line: Line) -> Result<BadLine<'a>> {
        let port = host.number();
        let detour = Detour { number: port };
        let aside = Host::from_parts("detour", Holder::start(Some(self.wire()))?, Place::outside(), None);
        let devices = detour.devices(aside.contained()?.pid());
        self.on_wire(&devices).context("VXLAN devices for a bad line")?;
        aside.command("ip").args(["-batch", "-"]).stdin(detour.aside()).run()?.ok()?;
        for (device, port) in [("near", FROM_HOST), ("far", FROM_WIRE)] {
            let device = format!("{device}{}", detour.number);
            let words =
                ["fdb", "append", "00:00:00:00:00:00", "dev", &device, "dst", &detour.theirs().to_string(), "port"];
            self.command("bridge").args(words).arg(port.to_string()).run()?.ok()?;
        }
        let log = tempfile::tempdir()?;
        let command = aside.command(peer()?).arg("line").args(detour.words()).args(line.words());
        let mut running = command.spawn(log.path().join("log"))?;
        running.wait_for_log("carrying", UP_WITHIN)?;
        self.on_wire(&format!(
            "link set port{port} nomaster\nlink add side{port} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
             link set side{port} addrgenmode none\nlink set side{port} up\n\
             link set port{port} master side{port}\nlink set near{port} master side{port}\n\
             link set far{port} master wire\nlink set near{port} up\nlink set far{port} up\n"
        ))?;
        Ok(BadLine { network: self, port, _running: running, _log: log })
    }
}

impl Drop for BadLine<'_> {
    fn drop(&mut self) {
        let port = self.port;
        // At the end of a test all of it goes with the namespace anyway.
        let _ = self.network.on_wire(&format!(
            "link del near{port}\nlink del far{port}\nlink set port{port} master wire\nlink del side{port}\n\
             link del aside{port}\n"
        ));
    }
}

impl Line {
    fn words(&self) -> [String; 5] {
        [
            self.loss.to_string(),
            self.delay.as_micros().to_string(),
            self.reordered.to_string(),
            self.late.as_micros().to_string(),
            self.seed.to_string(),
        ]
    }
}

/// Where the process takes frames, and where the devices do.
const FROM_HOST: u16 = 7_000;
const FROM_WIRE: u16 = 7_001;
const TO_HOST: u16 = 7_002;
const TO_WIRE: u16 = 7_003;

/// The way aside for one port of a wire.
struct Detour {
    number: u8,
}

impl Detour {
    fn ours(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 200, self.number, 1)
    }

    fn theirs(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 200, self.number, 2)
    }

    /// Each port has its own devices, and each device its own port for UDP: devices that share one are told apart by number.
    fn devices(&self, pid: u32) -> String {
        let Self { number, .. } = self;
        let device = |name: &str, port: u16| {
            format!(
                "link add {name}{number} mtu 1500 gso_max_segs 1 type vxlan id {number} local {} dstport {port} \
                 nolearning noudpcsum\nlink set {name}{number} addrgenmode none\n",
                self.ours()
            )
        };
        format!(
            "link add aside{number} mtu 1600 type veth peer name eth0 netns {pid}\nlink set aside{number} addrgenmode none\n\
             address add {}/30 dev aside{number}\nlink set aside{number} up\n",
            self.ours()
        ) + &device("near", TO_HOST)
            + &device("far", TO_WIRE)
    }

    fn aside(&self) -> String {
        format!(
            "link set lo up\nlink set eth0 mtu 1600 addrgenmode none\naddress add {}/30 dev eth0\nlink set eth0 up\n",
            self.theirs()
        )
    }

    fn words(&self) -> [String; 5] {
        let ports = [FROM_HOST, TO_WIRE, FROM_WIRE, TO_HOST].map(|port| port.to_string());
        let [a, b, c, d] = ports;
        [self.ours().to_string(), a, b, c, d]
    }
}
