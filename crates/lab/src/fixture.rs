//! The beginning of most scenarios: a controller, a gateway, and people with enrolled devices, all by the real program.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    Context, Failure, Host, Invocation, Network, Result, Role, RoleCommand,
    cli::{self, Service, Words},
    machine::machine_id,
    program, until,
};

const CONTROLLER_PORT: u16 = 4433;
const GATEWAY_PORT: u16 = 4434;
const LINKED_WITHIN: Duration = Duration::from_secs(20);

/// A controller and a gateway, running and linked, each on a host of its own on one wire.
pub struct Fixture {
    /// The controller.
    pub controller: Role,
    /// The gateway.
    pub gateway: Role,
    /// The wire, for more hosts.
    pub network: Network,
    dual_stack: bool,
    dir: TempDir,
}

/// A person with a device of their own: a host that is another machine than every other.
pub struct Person {
    /// The device.
    pub host: Host,
    /// The user name.
    pub user: String,
    /// The password.
    pub password: String,
    dir: PathBuf,
}

impl Fixture {
    /// Starts controller and gateway, reachable by IPv4, and waits until they are linked.
    ///
    /// # Errors
    /// A command or a role fails; the text holds what it said.
    pub fn start() -> Result<Self> {
        Self::start_with(false)
    }

    /// As [`Fixture::start`], reachable by IPv4 and IPv6.
    ///
    /// # Errors
    /// As [`Fixture::start`].
    pub fn start_dual_stack() -> Result<Self> {
        Self::start_with(true)
    }

    fn start_with(dual_stack: bool) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("vestibule-").tempdir()?;
        let network = Network::new()?;
        let (controller, gateway) = (network.host("controller")?, network.host("gateway")?);
        let (of_controller, of_gateway) = (dir.path().join("controller"), dir.path().join("gateway"));

        let addresses = addresses(&controller, CONTROLLER_PORT, dual_stack);
        vestibule(&controller, cli::controller_init(&of_controller, &addresses))?.run()?.ok()?;
        let run = cli::controller_run(&of_controller);
        let controller = Role::start(&controller, dir.path(), command("controller", run, String::new())?)?;

        let invite = vestibule(controller.host(), cli::controller_invite(&of_controller, "lab"))?.run()?.ok()?;
        let addresses = self::addresses(&gateway, GATEWAY_PORT, dual_stack);
        let init = vestibule(&gateway, cli::gateway_init(&of_gateway, &addresses))?;
        init.stdin(cli::link(&invite.out())? + "\n").run()?.ok()?;
        let run = cli::gateway_run(&of_gateway);
        let gateway = Role::start(&gateway, dir.path(), command("gateway", run, String::new())?)?;

        let fixture = Self { controller, gateway, network, dual_stack, dir };
        fixture.wait_linked()?;
        Ok(fixture)
    }

    /// Controller and gateway, and one person with an enrolled device.
    ///
    /// # Errors
    /// As [`Fixture::start`] and [`Fixture::add_person`].
    pub fn with_person(user: &str) -> Result<(Self, Person)> {
        let fixture = Self::start()?;
        let person = fixture.add_person(user, &[])?;
        Ok((fixture, person))
    }

    /// Waits until the controller says that the gateway's link stands.
    ///
    /// # Errors
    /// It doesn't in 20 s.
    pub fn wait_linked(&self) -> Result<()> {
        let linked = until(LINKED_WITHIN, "the gateway's link", || {
            let words = cli::controller_gateways(&self.controller_dir());
            let gateways = vestibule(self.controller.host(), words)?.run()?.ok()?.json()?;
            Ok(cli::are_linked(&gateways).then_some(()))
        });
        linked.context(format!("controller:\n{}\ngateway:\n{}", self.controller.log(), self.gateway.log()))
    }

    /// Starts the gateway again with another text in its configuration.
    ///
    /// # Errors
    /// The file can't be changed, or the gateway doesn't come back.
    pub fn configure_gateway(&mut self, change: impl FnOnce(String) -> String) -> Result<()> {
        self.gateway.terminate()?;
        configure(&self.gateway_dir().join("gateway.toml"), change)?;
        self.gateway.restart()?;
        self.wait_linked()
    }

    /// Starts the controller again with another text in its configuration.
    ///
    /// # Errors
    /// The file can't be changed, or the controller doesn't come back.
    pub fn configure_controller(&mut self, change: impl FnOnce(String) -> String) -> Result<()> {
        self.controller.terminate()?;
        configure(&self.controller_dir().join("controller.toml"), change)?;
        self.controller.restart()?;
        self.wait_linked()
    }

    /// From now on devices are enrolled that notice wrong passwords by themselves as well as the gateway allows: all but one
    /// in 65,536. With the default one in 1,024 becomes a knock, in a scenario's as in anybody's hands.
    ///
    /// # Errors
    /// As [`Fixture::configure_gateway`].
    pub fn notice_typos(&mut self) -> Result<()> {
        self.configure_gateway(|text| text.replace("typo_bits = 10", "typo_bits = 16"))
    }

    /// A directory of this fixture's own, gone with it. All hosts see it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The controller's directory.
    pub fn controller_dir(&self) -> PathBuf {
        self.dir.path().join("controller")
    }

    /// The gateway's directory.
    pub fn gateway_dir(&self) -> PathBuf {
        self.dir.path().join("gateway")
    }

    /// The controller's addresses.
    pub fn controller_addresses(&self) -> Vec<SocketAddr> {
        addresses(self.controller.host(), CONTROLLER_PORT, self.dual_stack)
    }

    /// The gateway's addresses.
    pub fn gateway_addresses(&self) -> Vec<SocketAddr> {
        addresses(self.gateway.host(), GATEWAY_PORT, self.dual_stack)
    }

    /// `vestibule WORDS --dir …` on the controller's host, by the controller's owner.
    ///
    /// # Errors
    /// The program can't be built.
    pub fn at_controller(&self, words: &[&str]) -> Result<Invocation> {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        vestibule(self.controller.host(), cli::in_dir(words, &self.controller_dir()))
    }

    /// `vestibule WORDS --dir …` on the gateway's host, by the gateway's owner.
    ///
    /// # Errors
    /// The program can't be built.
    pub fn at_gateway(&self, words: &[&str]) -> Result<Invocation> {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        vestibule(self.gateway.host(), cli::in_dir(words, &self.gateway_dir()))
    }

    /// Publishes a service to those whom `allow` names (`everyone`, `user:alice`, `group:sales`).
    ///
    /// # Errors
    /// The command fails.
    pub fn add_service(&self, name: &str, service: Service, allow: &[&str]) -> Result<()> {
        let words = cli::service_add(&self.gateway_dir(), name, service, allow);
        vestibule(self.gateway.host(), words)?.run()?.ok().map(drop)
    }

    /// Adds a user to the gateway's directory.
    ///
    /// # Errors
    /// The command fails.
    pub fn add_user(&self, user: &str, groups: &[&str]) -> Result<()> {
        vestibule(self.gateway.host(), cli::user_add(&self.gateway_dir(), user, groups))?.run()?.ok().map(drop)
    }

    /// Invites a user, and gives the link.
    ///
    /// # Errors
    /// The command fails.
    pub fn invite(&self, user: &str) -> Result<String> {
        let ran = vestibule(self.gateway.host(), cli::invite(&self.gateway_dir(), user))?.run()?.ok()?;
        cli::link(&ran.out())
    }

    /// Puts a machine on the wire for a person who isn't enrolled there yet.
    ///
    /// # Errors
    /// The host can't be made.
    pub fn add_device(&self, user: &str, name: &str) -> Result<Person> {
        self.add_device_on(&self.network, user, name)
    }

    /// As [`Fixture::add_device`], on another wire.
    ///
    /// # Errors
    /// As there.
    pub fn add_device_on(&self, network: &Network, user: &str, name: &str) -> Result<Person> {
        let host = network.host(name)?;
        let dir = self.dir.path().join(name);
        fs::create_dir(&dir)?;
        host.become_machine(name, &dir)?;
        // Each user's own. One that holds the user's name is refused.
        let password = format!("correct horse {} battery staple", &machine_id(user)[..8]);
        Ok(Person { host, user: user.to_owned(), password, dir: dir.join("client") })
    }

    /// Adds a user, puts a machine on the wire, and enrols it with an invitation.
    ///
    /// # Errors
    /// A command fails.
    pub fn add_person(&self, user: &str, groups: &[&str]) -> Result<Person> {
        self.add_person_on(&self.network, user, groups)
    }

    /// As [`Fixture::add_person`], on another wire.
    ///
    /// # Errors
    /// As there.
    pub fn add_person_on(&self, network: &Network, user: &str, groups: &[&str]) -> Result<Person> {
        self.add_user(user, groups)?;
        let person = self.add_device_on(network, user, user)?;
        person.enroll(&self.invite(user)?)?.run()?.ok()?;
        Ok(person)
    }
}

impl Person {
    /// The client's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `vestibule WORDS --dir …` on this person's device.
    ///
    /// # Errors
    /// The program can't be built.
    pub fn vestibule(&self, words: &[&str]) -> Result<Invocation> {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        vestibule(&self.host, cli::in_dir(words, &self.dir))
    }

    /// As [`Person::vestibule`], with `--password-stdin` and the password.
    ///
    /// # Errors
    /// The program can't be built.
    pub fn vestibule_with_password(&self, words: &[&str]) -> Result<Invocation> {
        Ok(self.vestibule(words)?.arg("--password-stdin").stdin(format!("{}\n", self.password)))
    }

    /// Enrols the device with this link.
    ///
    /// # Errors
    /// The program can't be built.
    pub fn enroll(&self, link: &str) -> Result<Invocation> {
        Ok(vestibule(&self.host, cli::enroll(&self.dir))?.stdin(format!("{link}\n{}\n", self.password)))
    }

    /// Logs in and keeps `vestibule up` running; `words` are added to it (`--forward=5432=db`).
    ///
    /// # Errors
    /// It isn't ready in 30 s; the text holds what it said.
    pub fn up(&self, words: &[&str]) -> Result<Role> {
        let mut all = cli::up(&self.dir);
        all.extend(words.iter().map(|word| (*word).to_owned()));
        let name = format!("{}-up", self.host.name());
        let logs = self.dir.parent().context("a client's directory lies in its device's")?;
        Role::start(&self.host, logs, command(&name, all, format!("{}\n", self.password))?)
    }
}

/// A change that changes nothing is a mistake of the scenario's.
fn configure(file: &Path, change: impl FnOnce(String) -> String) -> Result<()> {
    let before = fs::read_to_string(file)?;
    let after = change(before.clone());
    if after == before {
        return Err(Failure::new(format!("nothing to change in {}:\n{before}", file.display())));
    }
    fs::write(file, after).context(file.display())
}

fn addresses(host: &Host, port: u16, dual_stack: bool) -> Vec<SocketAddr> {
    let mut addresses = vec![SocketAddr::from((host.v4(), port))];
    if dual_stack {
        addresses.push(SocketAddr::from((host.v6(), port)));
    }
    addresses
}

/// The TPM of the machine that the tests run on is none of theirs.
const TPM: (&str, &str) = ("VESTIBULE_TPM", "/nonexistent/tpm");

fn vestibule(host: &Host, words: Words) -> Result<Invocation> {
    Ok(host.command(program()?).args(words).env(TPM.0, TPM.1))
}

fn command(name: &str, words: Words, stdin: String) -> Result<RoleCommand> {
    let mut argv = vec![program()?.display().to_string()];
    argv.extend(words);
    // What a role says at `debug` is what one wants to read when a scenario fails.
    let env = [("RUST_BACKTRACE", "1"), TPM].map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Ok(RoleCommand { name: name.to_owned(), argv, env, stdin })
}
