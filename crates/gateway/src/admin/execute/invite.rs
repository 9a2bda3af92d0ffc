//! Invitations.

use std::time::Duration;

use vestibule_proto::entropy::Entropy;
use vestibule_proto::id::Stamp;

use super::super::answer::{Answer, InvitationView, InvitationViewState, Invited};
use super::super::request::InviteRequest;
use super::super::{AdminError, selector};
use super::{Outcome, name, told};
use crate::directory::{Directory, InvitationRecord, InvitationState, Issued, What};

pub(super) async fn execute(
    directory: &Directory,
    request: InviteRequest,
    now: Stamp,
    entropy: &mut (dyn Entropy + Send),
) -> Outcome {
    match request {
        InviteRequest::Add { user, expires_in } => {
            let (issued, effects) =
                directory.invite(name(&user)?, Duration::from_secs(expires_in), now, entropy).await?;
            let Issued { id, user, expires, link } = issued;
            Ok((Answer::Invited(Invited { id, user, expires, link, trouble: None }), effects))
        }
        InviteRequest::List => {
            let invitations = directory.invitations().await?;
            told(Answer::Invitations(invitations.iter().map(|invited| view(invited, now)).collect()))
        }
        InviteRequest::Show { invitation } => told(Answer::Invitation(view(&find(directory, &invitation).await?, now))),
        InviteRequest::Revoke { invitation } => {
            let invited = find(directory, &invitation).await?;
            let effects = directory.revoke_invitation(invited.id, now).await?;
            let already = if invited.state == InvitationState::Revoked { " already" } else { "" };
            Ok((
                Answer::Done(format!("the invitation {} of {} is withdrawn{already}", invited.id, invited.user)),
                effects,
            ))
        }
    }
}

async fn find(directory: &Directory, text: &str) -> Result<InvitationRecord, AdminError> {
    selector::by_id(directory.invitations().await?, What::Invitation, text, |invited| invited.id.to_string())
}

pub(super) fn view(invited: &InvitationRecord, now: Stamp) -> InvitationView {
    InvitationView {
        id: invited.id,
        user: invited.user.clone(),
        state: match invited.state {
            InvitationState::Used => InvitationViewState::Used,
            InvitationState::Revoked => InvitationViewState::Revoked,
            InvitationState::Expired => InvitationViewState::Expired,
            InvitationState::Open if now >= invited.expires => InvitationViewState::Expired,
            InvitationState::Open => InvitationViewState::Open,
        },
        created: invited.created,
        expires: invited.expires,
        used: invited.used,
        used_by: invited.used_by,
        altered: invited.guesses.count,
        trouble: None,
    }
}
