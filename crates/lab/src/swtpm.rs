//! A TPM of its own for a test: the emulator `swtpm`.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use crate::{Context, Failure, Group, Result, until};

const UP_WITHIN: Duration = Duration::from_secs(20);
const ENDED_WITHIN: Duration = Duration::from_secs(10);

const RH_OWNER: u32 = 0x4000_0001;
const RH_LOCKOUT: u32 = 0x4000_000a;
const RS_PW: u32 = 0x4000_0009;

/// A running emulator; it ends with this, and keeps its state in its folder. Over its socket it speaks as a device does, with
/// one program at a time.
pub struct Swtpm {
    _group: Group,
    folder: PathBuf,
    /// The authorisation of its lock-out, once one is set.
    lockout: Vec<u8>,
}

impl Swtpm {
    /// Starts one whose state is in `folder`, which is made if it is missing. A new one lets three wrong tries pass and one more
    /// each 1,000 s, and lets everybody reset that.
    ///
    /// # Errors
    /// `swtpm` is not installed, or doesn't come up.
    pub fn start(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder.join("state")).context("the folder of the TPM")?;
        let socket = folder.join("tpm");
        if socket.exists() {
            fs::remove_file(&socket).context("the TPM's former socket")?;
        }
        let log = fs::File::create(folder.join("log")).context("the TPM's log")?;
        let mut command = Group::command("swtpm");
        command.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
        command.arg("--tpmstate").arg(format!("dir={}", folder.join("state").display()));
        command.arg("--server").arg(format!("type=unixio,path={}", socket.display()));
        command.arg("--ctrl").arg(format!("type=unixio,path={}", folder.join("ctrl").display()));
        command.stdout(Stdio::null()).stderr(log);
        let mut group = Group::start(&mut command).context("a shell for swtpm")?;
        until(UP_WITHIN, "swtpm to listen", || {
            if let Some(status) = group.leader().try_wait()? {
                let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
                return Err(Failure::new(format!("swtpm ended with {status} (is it installed?): {log}")));
            }
            Ok(UnixStream::connect(&socket).ok().map(drop))
        })?;
        Ok(Self { _group: group, folder: folder.to_owned(), lockout: Vec::new() })
    }

    /// Its socket: what a program takes for a TPM.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("tpm")
    }

    /// As when the machine is switched off and on.
    ///
    /// # Errors
    /// As [`Swtpm::start`].
    pub fn restart(self) -> Result<Self> {
        let Self { _group: mut group, folder, lockout } = self;
        group.end(ENDED_WITHIN);
        drop(group);
        Ok(Self { lockout, ..Self::start(&folder)? })
    }

    /// Lets nobody change or reset the lock-out but who knows this password, as an owner does who takes care.
    ///
    /// # Errors
    /// The TPM refuses.
    pub fn reserve_lockout(&mut self, password: &str) -> Result<()> {
        self.command(0x129, RH_LOCKOUT, &sized(password.as_bytes()))?;
        password.as_bytes().clone_into(&mut self.lockout);
        Ok(())
    }

    /// So many wrong tries, and one more each so many seconds; of the lock-out's password one each `recovery` seconds.
    ///
    /// # Errors
    /// The TPM refuses.
    pub fn limit(&self, tries: u32, interval: u32, recovery: u32) -> Result<()> {
        let parameters = [tries, interval, recovery].map(u32::to_be_bytes).concat();
        self.command(0x13a, RH_LOCKOUT, &parameters)
    }

    /// Forgets the wrong tries.
    ///
    /// # Errors
    /// The TPM refuses.
    pub fn reset_lockout(&self) -> Result<()> {
        self.command(0x139, RH_LOCKOUT, &[])
    }

    /// Makes it a new TPM, as firmware does when asked to clear it. The password of its lock-out ends, too.
    ///
    /// # Errors
    /// The TPM refuses.
    pub fn clear(&mut self) -> Result<()> {
        self.command(0x126, RH_LOCKOUT, &[])?;
        self.lockout.clear();
        Ok(())
    }

    /// Lets nobody make keys under its owner's hierarchy but who knows this password.
    ///
    /// # Errors
    /// The TPM refuses.
    pub fn reserve_owner(&self, password: &str) -> Result<()> {
        let owner = Self::bytes(0x129, RH_OWNER, &[], &sized(password.as_bytes()));
        self.raw(&owner).and_then(|answer| accepted(&answer))
    }

    fn command(&self, code: u32, handle: u32, parameters: &[u8]) -> Result<()> {
        let answer = self.raw(&Self::bytes(code, handle, &self.lockout, parameters))?;
        accepted(&answer)
    }

    /// A command with one handle, authorised by a password.
    fn bytes(code: u32, handle: u32, password: &[u8], parameters: &[u8]) -> Vec<u8> {
        let area = [&RS_PW.to_be_bytes()[..], &[0, 0, 0], &sized(password)].concat();
        let length = u32::try_from(area.len()).unwrap_or(u32::MAX).to_be_bytes();
        let body = [&handle.to_be_bytes()[..], &length, &area, parameters].concat();
        let length = u32::try_from(10 + body.len()).unwrap_or(u32::MAX).to_be_bytes();
        [&[0x80, 0x02][..], &length, &code.to_be_bytes(), &body].concat()
    }

    /// Sends it any bytes, and returns its answer.
    ///
    /// # Errors
    /// It is gone, or busy with another program for too long.
    pub fn raw(&self, command: &[u8]) -> Result<Vec<u8>> {
        let mut stream = UnixStream::connect(self.socket()).context("the TPM's socket")?;
        stream.set_read_timeout(Some(UP_WITHIN))?;
        stream.write_all(command)?;
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).context("the TPM's answer")?;
        answer.truncate(length);
        Ok(answer)
    }
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&length, bytes].concat()
}

fn accepted(answer: &[u8]) -> Result<()> {
    match answer.get(6..10) {
        Some([0, 0, 0, 0]) => Ok(()),
        code => Err(Failure::new(format!("the TPM refuses: {code:02x?}"))),
    }
}
