//! One flow from its beginning to its end.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quinn::{ReadExactError, RecvStream, SendStream, VarInt};
use tokio::task::coop::consume_budget;
use vestibule_proto::datagram::{self, RECORD_HEAD_LEN};
use vestibule_proto::session::{OPENED_LIMIT, Opened, Reason, code};

use super::DatagramFlow;
use crate::framed::read_frame_within;

/// A flow's other end on this machine: a socket, mostly.
pub trait LocalSide: Sync {
    /// The next datagram that it has for the peer. Must be cancel-safe.
    ///
    /// # Errors
    /// When there will be no more.
    fn recv(&self) -> impl Future<Output = io::Result<Vec<u8>>> + Send;

    /// Gives it one from the peer. Never waits; false when it was not taken.
    fn send(&self, payload: &[u8]) -> bool;
}

/// Whether `Opened` is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This side has given it.
    Given,
    /// The peer will give it; until then all that is said goes on the stream, behind `Open`.
    Expected,
}

/// How a flow ended.
#[derive(Debug)]
pub enum FlowEnd {
    /// The peer has ended it.
    Finished,
    /// Nothing has passed for too long.
    Idle,
    /// It made room for another one.
    CrowdedOut,
    /// The peer says no.
    Refused(Reason),
    /// The peer broke the protocol; the stream was reset.
    Broken,
    /// The stream was given up, or the connection is gone.
    Lost,
    /// The local side has ended.
    Local(io::Error),
}

/// A flow's stream; reset when dropped before the other end was told how it ended.
struct Streams {
    send: SendStream,
    recv: RecvStream,
    told: bool,
}

impl Drop for Streams {
    fn drop(&mut self) {
        if !self.told {
            let _ = self.send.reset(VarInt::from_u32(code::TCP_RESET));
            let _ = self.recv.stop(VarInt::from_u32(code::TCP_RESET));
        }
    }
}

impl DatagramFlow {
    /// Carries both ways until either side ends the flow, or nothing has passed for `idle`. When the future is dropped, the stream is
    /// reset: what waits in it is not delivered any more.
    pub async fn carry<L: LocalSide>(
        &self,
        local: &L,
        (send, recv): (SendStream, RecvStream),
        answer: Answer,
        idle: Duration,
    ) -> FlowEnd {
        let opened = AtomicBool::new(answer == Answer::Given);
        let mut streams = Streams { send, recv, told: false };
        let Streams { send, recv, told } = &mut streams;
        let end = tokio::select! {
            biased;
            () = self.entry.crowded_out.cancelled() => FlowEnd::CrowdedOut,
            end = self.hear(local, recv, &opened) => end,
            end = self.idle(idle) => end,
            () = self.arrive(local) => FlowEnd::Lost,
            end = self.say(local, &opened) => end,
            end = self.write(send) => end,
        };
        let word = if matches!(end, FlowEnd::Broken) { code::PROTOCOL } else { code::DONE };
        // Either half may be closed already: then there is nothing left to tell.
        let _ = if word == code::DONE { send.finish().is_ok() } else { send.reset(VarInt::from_u32(word)).is_ok() };
        let _ = recv.stop(VarInt::from_u32(word));
        *told = true;
        end
    }

    /// From the local side to the peer.
    async fn say<L: LocalSide>(&self, local: &L, opened: &AtomicBool) -> FlowEnd {
        loop {
            let payload = match local.recv().await {
                Ok(payload) => payload,
                Err(error) => return FlowEnd::Local(error),
            };
            consume_budget().await;
            self.all.touch(&self.entry.used);
            let counters = &self.all.counters;
            let fits = opened.load(Ordering::Relaxed) && self.fits(payload.len());
            let taken = if fits { self.send_frame(&payload) } else { self.records.push(payload) };
            if taken { counters.sent.add() } else { counters.dropped.add() }
        }
    }

    /// Whether a payload can travel in a frame of its own now. What a path carries may change.
    fn fits(&self, length: usize) -> bool {
        self.all.connection.max_datagram_size().is_some_and(|limit| self.id.encoded_len() + length <= limit)
    }

    /// QUIC would make room by dropping what waits longest, of whichever flow and uncounted.
    fn send_frame(&self, payload: &[u8]) -> bool {
        let Ok(frame) = datagram::encode(self.id, payload) else { return false };
        self.all.connection.datagram_send_buffer_space() >= frame.len()
            && self.all.connection.send_datagram(frame.into()).is_ok()
    }

    /// Records to the stream.
    async fn write(&self, send: &mut SendStream) -> FlowEnd {
        loop {
            let payload = self.records.pop().await;
            // What is longer than a datagram may be comes from no socket of ours.
            let Ok(head) = datagram::record_head(payload.len()) else {
                self.all.counters.dropped.add();
                continue;
            };
            let mut chunks = [head.to_vec().into(), payload.into()];
            if send.write_all_chunks(&mut chunks).await.is_err() {
                return FlowEnd::Lost;
            }
        }
    }

    /// From the peer, in frames.
    async fn arrive<L: LocalSide>(&self, local: &L) {
        loop {
            let payload = self.entry.arrived.pop().await;
            self.give(local, &payload);
            consume_budget().await;
        }
    }

    /// From the peer, on the stream.
    async fn hear<L: LocalSide>(&self, local: &L, recv: &mut RecvStream, opened: &AtomicBool) -> FlowEnd {
        if !opened.load(Ordering::Relaxed) {
            match read_frame_within(recv, OPENED_LIMIT).await {
                Ok(Opened::Connected) => opened.store(true, Ordering::Relaxed),
                Ok(Opened::Refused(reason)) => return FlowEnd::Refused(reason),
                Ok(Opened::Direct { .. }) => return FlowEnd::Broken,
                Err(_) => return FlowEnd::Lost,
            }
        }
        loop {
            match self.read(recv).await {
                Ok(payload) => self.give(local, &payload),
                Err(end) => return end,
            }
            consume_budget().await;
        }
    }

    async fn read(&self, recv: &mut RecvStream) -> Result<Vec<u8>, FlowEnd> {
        let ended = |error| match error {
            ReadExactError::FinishedEarly(_) => FlowEnd::Finished,
            ReadExactError::ReadError(_) => FlowEnd::Lost,
        };
        let mut head = [0; RECORD_HEAD_LEN];
        recv.read_exact(&mut head).await.map_err(ended)?;
        let length = datagram::record_length(head).map_err(|_| {
            self.all.counters.malformed.add();
            FlowEnd::Broken
        })?;
        let mut payload = vec![0; length];
        recv.read_exact(&mut payload).await.map_err(ended)?;
        Ok(payload)
    }

    fn give<L: LocalSide>(&self, local: &L, payload: &[u8]) {
        self.all.touch(&self.entry.used);
        let counters = &self.all.counters;
        if local.send(payload) { counters.received.add() } else { counters.dropped.add() }
    }

    async fn idle(&self, limit: Duration) -> FlowEnd {
        loop {
            let silence = self.all.silence(&self.entry.used);
            if silence >= limit {
                self.all.counters.idle.add();
                return FlowEnd::Idle;
            }
            tokio::time::sleep(limit - silence).await;
        }
    }
}
