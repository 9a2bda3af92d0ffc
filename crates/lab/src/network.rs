//! One wire with hosts on it.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use crate::{Context, Failure, Host, Result, holder::Holder};

const FIRST_NUMBER: u8 = 11;
const LAST_NUMBER: u8 = 250;

/// A bridge in a namespace of its own, and the hosts that hang on it: 10.77.0.0/24 and fd77::/64. No host has a route
/// beyond, and none has a link-local address, so what they send is what the test made them send.
pub struct Network {
    wire: Arc<Holder>,
    next: AtomicU8,
}

impl Network {
    /// A wire without hosts.
    ///
    /// # Errors
    /// The system makes no namespaces for us; the text says what to do.
    pub fn new() -> Result<Self> {
        let network = Self { wire: Arc::new(Holder::start(None)?), next: AtomicU8::new(FIRST_NUMBER) };
        network
            .on_wire("link add wire type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set wire up\n")?;
        Ok(network)
    }

    /// Puts one more host on the wire. The first has 10.77.0.11 and fd77::b, the next one more.
    ///
    /// # Errors
    /// The system refuses, or there are already 240 hosts.
    pub fn host(&self, name: &str) -> Result<Host> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number > LAST_NUMBER {
            return Err(Failure::new("no more than 240 hosts on one wire"));
        }
        let holder = Holder::start(Some(&self.wire))?;
        // Segments are cut before the capture sees them: one datagram, one packet.
        self.on_wire(&format!(
            "link add port{number} gso_max_segs 1 type veth peer name eth0 netns {pid}\n\
             link set port{number} master wire\n\
             link set port{number} addrgenmode none up\n",
            pid = holder.pid()
        ))?;
        let host = Host::from_parts(name, holder, number, Some(Arc::clone(&self.wire)));
        let [a, b, c, d, e, f] = host.mac();
        let script = format!(
            "link set lo up\n\
             link set eth0 address {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} gso_max_segs 1 addrgenmode none\n\
             address add {}/24 dev eth0\n\
             address add {}/64 dev eth0 nodad\n\
             link set eth0 up\n",
            host.v4(),
            host.v6()
        );
        host.command("ip")
            .args(["-batch", "-"])
            .stdin(script)
            .run()?
            .ok()
            .context(format!("laying the wire to {name}"))?;
        Ok(host)
    }

    fn on_wire(&self, script: &str) -> Result<()> {
        let wire = Host::here();
        let prefix = self.wire.prefix();
        let mut command = wire.command(&prefix[0]);
        command = command.args(&prefix[1..]).args(["ip", "-batch", "-"]).stdin(script);
        command.run()?.ok().map(drop)
    }
}
