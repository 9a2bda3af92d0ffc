//! An eavesdropper at a host's interfaces.

use std::{
    io::Write,
    process::{ChildStdin, ChildStdout},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{Context, Counters, Failure, Host, Packet, Packets, Proto, Result, Running, pcap::PcapReader, peer, until};

const FLUSH_WITHIN: Duration = Duration::from_secs(20);

/// What `lab-peer capture` puts into a datagram over loopback, before the number of the mark: whatever was captured
/// before it, was sent before it.
pub const MARK: &[u8] = b"vestibule lab mark ";

/// A running capture of every frame that enters or leaves a host, loopback excepted. The capture's own count is
/// compared with the kernel's: frames lost are an error and no silence.
pub struct Capture {
    host: Host,
    running: Running,
    commands: ChildStdin,
    seen: Arc<Seen>,
    before: Counters,
    marks: u64,
    _log: tempfile::TempDir,
}

#[derive(Default)]
struct Seen {
    packets: Mutex<Vec<Packet>>,
    mark: AtomicU64,
    broken: Mutex<Option<String>>,
}

impl Capture {
    /// Starts capturing at `host`, and returns when it does.
    ///
    /// # Errors
    /// The capture doesn't start.
    pub fn start(host: &Host) -> Result<Self> {
        host.contained()?;
        let log = tempfile::tempdir()?;
        let mut running = host.command(peer()?).arg("capture").spawn_piped(log.path().join("log"))?;
        let commands = running.stdin.take().context("no pipe to the capture")?;
        let stream = running.stdout.take().context("no pipe from the capture")?;
        let seen = Arc::new(Seen::default());
        let reader = Arc::clone(&seen);
        thread::spawn(move || read(stream, &reader));
        let before = host.counters()?;
        let mut capture = Self { host: host.clone(), running, commands, seen, before, marks: 0, _log: log };
        capture.flush()?;
        // Only now does it surely capture; what went before is nobody's concern.
        capture.before = host.counters()?;
        Ok(capture)
    }

    /// What was captured until now.
    ///
    /// # Errors
    /// Frames were lost, or the capture broke off.
    pub fn so_far(&mut self) -> Result<Packets> {
        let passed = self.host.counters()?.since(&self.before);
        let passed = usize::try_from(passed.frames_sent() + passed.frames_received())?;
        self.flush()?;
        // A frame that the kernel has counted may still be on its way up when the mark passes it.
        let complete = until(Duration::from_secs(2), "the frames that the kernel counted", || {
            Ok((self.packets().len() >= passed).then_some(()))
        });
        let packets = self.packets().clone();
        complete.context(format!("the capture has {} frames, the kernel counted {passed}", packets.len()))?;
        Ok(packets.into())
    }

    /// Ends it, and gives what was captured.
    ///
    /// # Errors
    /// Frames were lost, or the capture broke off.
    pub fn stop(mut self) -> Result<Packets> {
        self.so_far()
    }

    fn packets(&self) -> std::sync::MutexGuard<'_, Vec<Packet>> {
        self.seen.packets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything sent up to now has been read.
    fn flush(&mut self) -> Result<()> {
        self.marks += 1;
        let mark = self.marks;
        writeln!(self.commands, "{mark}").context("the capture has ended")?;
        let seen = until(FLUSH_WITHIN, "the capture's mark", || {
            if let Some(reason) = self.seen.broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Err(Failure::new(format!("the capture broke off: {reason}")));
            }
            Ok((self.seen.mark.load(Ordering::Acquire) >= mark).then_some(()))
        });
        seen.context(format!("capture at {}: log\n{}", self.host.name(), self.running.log_tail()))
    }
}

fn read(stream: ChildStdout, seen: &Seen) {
    let pump = || -> Result<()> {
        let mut reader = PcapReader::new(std::io::BufReader::with_capacity(1 << 20, stream))?;
        while let Some(packet) = reader.next_packet()? {
            take(packet, seen);
        }
        Err(Failure::new("end of the stream"))
    };
    if let Err(reason) = pump() {
        *seen.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_string());
    }
}

fn take(packet: Packet, seen: &Seen) {
    // Over loopback every hardware address is zero.
    if packet.source_mac() != [0; 6] {
        seen.packets.lock().unwrap_or_else(PoisonError::into_inner).push(packet);
    } else if packet.proto == Proto::Udp
        && let Some(number) = packet.payload().strip_prefix(MARK)
        && let Some(number) = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok())
    {
        seen.mark.fetch_max(number, Ordering::Release);
    }
}
