//! The gateway's shell: the disk before the door, the door before the answer, and death in between.

use crate::common::address;
use crate::explored::book::{Said, Wrong};
use crate::explored::events::{Flaw, Killed};
use crate::explored::setting::{Opened, Setting};
use crate::explored::world::{ATTACKER, Admit, World};
use vestibule_proto::admission::AdmissionCommand;
use vestibule_proto::id::{KnockId, LinkRequest, Stamp};
use vestibule_proto::recognition::Answer;

impl World<'_> {
    pub(crate) fn admit(&mut self, admit: &Admit, killed: Killed) -> Result<(), Wrong> {
        let gateway = &mut self.gateway;
        gateway.history.note("admit", admit, self.now);
        let Admit { request, digest, source, inner } = admit;
        gateway.machine.handle_input(*request, *digest, *source, inner, self.now, &mut gateway.entropy);
        self.run_gateway(killed)
    }

    pub(crate) fn admit_again(&mut self, k1: usize, killed: Killed) -> Result<(), Wrong> {
        self.left.again -= 1;
        let Opened { inner, digest, .. } = self.setting.open(&self.k1[k1]);
        let request = LinkRequest::new(u64::MAX - self.left.again as u64);
        self.admit(&Admit { request, digest, source: address(ATTACKER), inner }, killed)
    }

    /// Does what the gateway's machine says, unless the gateway is killed over it.
    pub(crate) fn run_gateway(&mut self, killed: Killed) -> Result<(), Wrong> {
        while let Some(command) = self.gateway.machine.poll_command() {
            match command {
                AdmissionCommand::Remember { request, knock_id, stamp, .. } => {
                    self.book.remembers(request, knock_id)?;
                    if killed == Killed::BeforeWriting {
                        return self.kill_gateway();
                    }
                    if !self.remember(request, knock_id, stamp, killed) {
                        return self.kill_gateway();
                    }
                }
                AdmissionCommand::Open { request, ticket_id, tags, .. } => {
                    self.book.opens(request, ticket_id)?;
                    self.gateway.door.insert(ticket_id, tags);
                    if killed == Killed::AfterOpening {
                        return self.kill_gateway();
                    }
                    let gateway = &mut self.gateway;
                    gateway.machine.handle_opened(request, true, self.now, &mut gateway.entropy);
                }
                AdmissionCommand::Shut { ticket_id } => _ = self.gateway.door.remove(&ticket_id),
                AdmissionCommand::Answer { request, answer } => {
                    if matches!(answer, Answer::Ready { .. }) {
                        self.book.told_ready(request);
                    }
                    self.answers.insert(self.frames.next(), (request, answer));
                }
                AdmissionCommand::CountGuess { .. } => panic!("nobody mistypes here"),
                AdmissionCommand::Audit(_) => {}
            }
        }
        Ok(())
    }

    /// Writes a knock down and tells the machine; false where the gateway is killed in between.
    fn remember(&mut self, request: LinkRequest, knock: KnockId, stamp: Stamp, killed: Killed) -> bool {
        let gateway = &mut self.gateway;
        let fresh = gateway.seen.is_fresh(knock, stamp);
        // The wrong order has the machine go on before the disk: what it does then is done, and the set never gets the knock
        // if the process ends meanwhile.
        let late = self.setting.flaw == Some(Flaw::ToldBeforeWritten) && killed == Killed::AfterOpening;
        if !late {
            gateway.seen.enter(knock, stamp);
            self.book.seen(knock);
        }
        if killed == Killed::AfterWriting {
            return false;
        }
        gateway.machine.handle_remembered(request, fresh, self.now, &mut gateway.entropy);
        true
    }

    pub(crate) fn kill_gateway(&mut self) -> Result<(), Wrong> {
        self.left.kills -= 1;
        let Setting { realm, person, flaw, .. } = self.setting;
        self.gateway = self.gateway.restarted(realm, person, *flaw, self.now);
        self.lose_link();
        self.controller.relink(realm, self.now);
        self.run_controller(Said::Away)
    }
}
