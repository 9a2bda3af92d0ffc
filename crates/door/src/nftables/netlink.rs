//! The socket to the kernel's netfilter.

use std::ops::ControlFlow;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with};

use super::message::{Batch, Reply, read};

/// The longest answer that is read whole. What quotes a batch of ours may be longer: of it only the front is needed.
const ANSWER: usize = 1 << 15;

/// One long-lived socket. The kernel does what it is told while the message is being sent: the answers are there when
/// sending returns, and nobody waits for one.
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    answer: Vec<u8>,
}

impl Netlink {
    pub(super) fn open() -> Result<Self, Errno> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER))?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { socket, sequence: 0, answer: vec![0; ANSWER] })
    }

    /// An empty batch, to be given to [`Netlink::commit`] next.
    pub(super) fn batch(&mut self) -> Batch {
        Batch::new(self.next())
    }

    /// Carries a batch out: all of it is in force, or, after an error, nothing of it.
    pub(super) fn commit(&mut self, batch: Batch) -> Result<(), Errno> {
        self.outcome(&batch.finish())
    }

    /// Whether a batch could be carried out; nothing of it is.
    pub(super) fn trial(&mut self, batch: Batch) -> Result<(), Errno> {
        self.outcome(&batch.trial())
    }

    fn outcome(&mut self, batch: &[u8]) -> Result<(), Errno> {
        self.send(batch)?;
        let (mut acknowledged, mut refused) = (false, None);
        self.receive(|reply| {
            match reply {
                Reply::Outcome(0) => acknowledged = true,
                Reply::Outcome(errno) => refused = refused.or(Some(Errno::from_raw_os_error(errno))),
                Reply::End | Reply::Thing(_) => {}
            }
            ControlFlow::Continue(())
        })?;
        match refused {
            Some(errno) => Err(errno),
            None if acknowledged => Ok(()),
            None => Err(Errno::IO),
        }
    }

    /// Asks, and hands each thing that the kernel answers to `take`, by its attributes. `question` gets the number that it
    /// must bear.
    pub(super) fn ask(
        &mut self,
        question: impl FnOnce(u32) -> Vec<u8>,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), Errno> {
        let question = question(self.next());
        self.send(&question)?;
        let mut refused = None;
        self.receive(|reply| match reply {
            Reply::Thing(attributes) => {
                take(attributes);
                ControlFlow::Continue(())
            }
            Reply::End | Reply::Outcome(0) => ControlFlow::Break(()),
            Reply::Outcome(errno) => {
                refused = Some(Errno::from_raw_os_error(errno));
                ControlFlow::Break(())
            }
        })?;
        refused.map_or(Ok(()), Err)
    }

    fn next(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&mut self, message: &[u8]) -> Result<(), Errno> {
        sendto(&self.socket, message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).map(drop)
    }

    /// Reads what is there, until `take` has enough.
    fn receive(&mut self, mut take: impl FnMut(Reply<'_>) -> ControlFlow<()>) -> Result<(), Errno> {
        loop {
            let len = match recv(&self.socket, self.answer.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((len, _)) => len,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            if read(&self.answer[..len.min(ANSWER)], self.sequence, &mut take).is_break() {
                return Ok(());
            }
        }
    }
}
