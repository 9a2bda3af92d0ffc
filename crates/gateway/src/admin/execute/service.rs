//! Services.

use vestibule_policy::{Grant, allowed};
use vestibule_proto::id::{ServiceName, Stamp, UserName};

use super::super::AdminError;
use super::super::answer::{Answer, ServiceView};
use super::super::request::ServiceRequest;
use super::{Outcome, name, shown_or, told};
use crate::directory::{Directory, Service, Source, User, What};

pub(super) async fn execute(directory: &Directory, request: ServiceRequest, now: Stamp) -> Outcome {
    match request {
        ServiceRequest::Add { name: text, kind, upstream, allow, direct } => {
            let name: ServiceName = name(&text)?;
            let grants = allow.iter().map(|text| grant(text)).collect::<Result<_, _>>()?;
            let service = Service { name: name.clone(), kind, upstream, grants, source: Source::Directory, direct };
            let effects = directory.add_service(service, now).await?;
            let shown = show(directory, &name).await;
            Ok((shown_or(shown, || format!("the service {name} is added")), effects))
        }
        ServiceRequest::List => {
            let services = directory.services().await?;
            told(Answer::Services(services.into_iter().map(|service| view(service, Vec::new())).collect()))
        }
        ServiceRequest::Show { name: text } => told(show(directory, &name(&text)?).await?),
        ServiceRequest::Remove { name: text } => {
            let effects = directory.remove_service(name(&text)?, now).await?;
            Ok((Answer::Done(format!("the service {text} is removed")), effects))
        }
    }
}

async fn show(directory: &Directory, name: &ServiceName) -> Result<Answer, AdminError> {
    let found = directory.services().await?.into_iter().find(|service| service.name == *name);
    let service = found.ok_or_else(|| AdminError::not_found(What::Service, name.as_str()))?;
    let users = directory.users().await?.into_iter().filter(|user| may_use(user, &service));
    let users = users.map(|user| user.name).collect();
    Ok(Answer::Service(view(service, users)))
}

fn may_use(user: &User, service: &Service) -> bool {
    !user.suspended && allowed(user.name.as_str(), &user.groups, &service.grants).is_allowed()
}

fn view(service: Service, users: Vec<UserName>) -> ServiceView {
    let Service { name, kind, upstream, grants, source, direct } = service;
    ServiceView { name, kind, upstream, allow: grants, source, users, direct }
}

fn grant(text: &str) -> Result<Grant, AdminError> {
    Grant::parse(text).map_err(|error| AdminError::invalid(error.to_string(), "for example: --allow group:sales"))
}
