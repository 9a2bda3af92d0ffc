//! `guard user …`: who may sign in at a guard that runs alone. A running one takes what changes within a second.

use crate::cli::{GuardDirArgs, GuardUserCommand, PasswordArgs};
use crate::directories::Role;
use crate::fault::{self, Fault};
use crate::output::Output;
use crate::password::Source;
use crate::roles;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;
use vestibule_guard::{Stamp, User, UserError, UserName, Users};
use vestibule_local_credential::Password;
use vestibule_local_credential::password::refuse_if_common;

/// A user, as printed.
#[derive(Serialize)]
struct UserView {
    name: String,
    groups: Vec<String>,
}

/// Carries out a `guard user` command.
pub(super) fn run(command: GuardUserCommand, output: &Output) -> Result<ExitCode, Fault> {
    match command {
        GuardUserCommand::Add { name, groups, password, dir } => add(&name, &groups, &password, &dir, output)?,
        GuardUserCommand::List(dir) => {
            let users = roles::brief_runtime()?.block_on(existing(&dir)?.list());
            let users: Vec<_> = users.map_err(|error| roles::store_fault(&error))?.into_iter().map(view).collect();
            output.list(&users, &["user", "groups"], |user| vec![user.name.clone(), user.groups.join(" ")])?;
        }
        GuardUserCommand::Remove { name, dir } => {
            let removed = roles::brief_runtime()?.block_on(existing(&dir)?.remove(&name));
            removed.map_err(|error| user_fault(&error, &name))?;
            output.say(&UserView { name: name.to_string(), groups: Vec::new() }, || {
                format!("{name} is removed; what sessions there were are cut within a second.")
            })?;
        }
        GuardUserCommand::Passwd { name, password, dir } => set_password(&name, &password, &dir, output)?,
        GuardUserCommand::Groups { name, groups, dir } => {
            let users = existing(&dir)?;
            let set = roles::brief_runtime()?.block_on(users.set_groups(&name, &groups));
            set.map_err(|error| user_fault(&error, &name))?;
            show(&users, &name, output)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn add(
    name: &UserName,
    groups: &[String],
    password: &PasswordArgs,
    dir: &GuardDirArgs,
    output: &Output,
) -> Result<(), Fault> {
    let dir = directory(dir)?;
    if Role::Gateway.configuration(&dir).exists() {
        return Err(Fault::configuration(format!("{} is a gateway's directory", dir.display()))
            .detail("At a gateway's guard people are known by their devices; nobody types a password there.")
            .next(roles::command(&format!("user add {name}"), Role::Gateway, &dir)));
    }
    let users = users(super::open(&dir)?)?;
    if users.get(name).map_err(|error| roles::store_fault(&error))?.is_some() {
        return Err(user_fault(&UserError::Exists, name));
    }
    let password = ask(name, "Choose a password for ", password)?;
    let added = roles::brief_runtime()?.block_on(users.add(name, groups, text(&password)?, now()));
    added.map_err(|error| user_fault(&error, name))?;
    show(&users, name, output)
}

fn set_password(name: &UserName, password: &PasswordArgs, dir: &GuardDirArgs, output: &Output) -> Result<(), Fault> {
    let users = existing(dir)?;
    if users.get(name).map_err(|error| roles::store_fault(&error))?.is_none() {
        return Err(user_fault(&UserError::Unknown, name));
    }
    let password = ask(name, "Choose another password for ", password)?;
    let set = roles::brief_runtime()?.block_on(users.set_password(name, text(&password)?));
    set.map_err(|error| user_fault(&error, name))?;
    output.say(&UserView { name: name.to_string(), groups: Vec::new() }, || {
        format!("{name} has another password. Sessions go on; to end them:  vestibule guard session cut --user {name}")
    })
}

fn ask(name: &UserName, prompt: &str, arguments: &PasswordArgs) -> Result<Password, Fault> {
    let user = vestibule_proto::id::UserName::parse(name.as_str());
    let user = user.map_err(|error| Fault::usage(format!("this is no user name: {error}")))?;
    Source::choose(arguments)?.ask_new(&format!("{prompt}{name}: "), |password| {
        refuse_if_common(password, &user).map_err(|weak| {
            Fault::new(fault::WEAK_PASSWORD, "this password is too weak")
                .detail(format!("{weak}."))
                .next("choose a longer one; three or four words will do")
        })
    })
}

fn text(password: &Password) -> Result<&str, Fault> {
    std::str::from_utf8(password.expose()).map_err(|_| Fault::usage("the password is not UTF-8"))
}

fn show(users: &Users, name: &UserName, output: &Output) -> Result<(), Fault> {
    let found = users.get(name).map_err(|error| roles::store_fault(&error))?;
    let user = view(found.ok_or_else(|| user_fault(&UserError::Unknown, name))?);
    output.show(&user, &[("user", user.name.clone()), ("groups", user.groups.join(" "))])
}

fn view(user: User) -> UserView {
    UserView { name: user.name.to_string(), groups: user.groups }
}

fn directory(dir: &GuardDirArgs) -> Result<PathBuf, Fault> {
    Role::Guard.dir(dir.dir.as_deref())
}

fn existing(dir: &GuardDirArgs) -> Result<Users, Fault> {
    users(super::existing(&directory(dir)?)?)
}

fn users(files: vestibule_guard::Files) -> Result<Users, Fault> {
    files.users().map_err(|error| roles::store_fault(&error))
}

fn user_fault(error: &UserError, name: &UserName) -> Fault {
    match error {
        UserError::Exists => Fault::new(fault::NO_SUCH, format!("there is a user `{name}` already"))
            .next(format!("vestibule guard user passwd {name}; or choose another name")),
        UserError::Unknown => {
            Fault::new(fault::NO_SUCH, format!("there is no user `{name}`")).next("vestibule guard user list")
        }
        UserError::Password(error) => Fault::usage(error.to_string()),
        UserError::Group(error) => Fault::usage(error.to_string()),
        UserError::Store(error) => roles::store_fault(error),
    }
}

fn now() -> Stamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Stamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
