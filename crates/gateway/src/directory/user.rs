//! Users and their groups.

use rusqlite::{Connection, OptionalExtension};
use vestibule_policy::{Grant, check_group_name};
use vestibule_proto::id::{Stamp, UserName};
use vestibule_store::StoreError;

use super::audit::{AuditEntry, AuditKind, record};
use super::columns::{millis, stamp, user_name};
use super::error::{DirectoryError, What};
use super::session::{EndReason, end_where};
use super::{Directory, Effect, publishing};

/// Devices that a user may have enrolled at a time, revoked ones not counted.
pub const DEVICES_PER_USER: u32 = 64;
/// Invitations of a user that may be open at a time.
pub const INVITATIONS_PER_USER: u32 = 64;
/// Groups that a user may be in.
const GROUPS_PER_USER: usize = 64;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name; never reused by another user while its devices exist.
    pub name: UserName,
    /// The user's groups, in order.
    pub groups: Vec<String>,
    /// Whether the owner has suspended the user: no login, no resumption, until resumed.
    pub suspended: bool,
    /// When the user was added.
    pub created: Stamp,
}

impl Directory {
    /// Adds a user. Groups are created by being named.
    ///
    /// Errors: [`DirectoryError::Exists`], [`DirectoryError::Invalid`] for a group's name.
    pub async fn add_user(&self, name: UserName, groups: &[String], now: Stamp) -> Result<Vec<Effect>, DirectoryError> {
        let groups = checked(groups)?;
        self.write(move |c| {
            let added = c.execute(
                "INSERT INTO user (name, created) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                (name.as_str(), millis(now)),
            )?;
            if added == 0 {
                return Err(DirectoryError::exists(What::User, &name));
            }
            insert_groups(c, &name, &groups)?;
            record(c, &AuditEntry::of(AuditKind::UserAdded, now).user(&name).detail(groups.join(" ")))?;
            Ok(vec![Effect::ReloadServices])
        })
        .await
    }

    /// Replaces a user's groups.
    ///
    /// Errors: [`DirectoryError::NotFound`], [`DirectoryError::Invalid`] for a group's name.
    pub async fn set_groups(
        &self,
        name: UserName,
        groups: &[String],
        now: Stamp,
    ) -> Result<Vec<Effect>, DirectoryError> {
        let groups = checked(groups)?;
        self.write(move |c| {
            must_exist(c, &name)?;
            c.execute("DELETE FROM user_group WHERE user = ?1", [name.as_str()])?;
            insert_groups(c, &name, &groups)?;
            record(c, &AuditEntry::of(AuditKind::UserGroups, now).user(&name).detail(groups.join(" ")))?;
            Ok(vec![Effect::ReloadServices])
        })
        .await
    }

    /// Suspends a user: every session ends; devices stay enrolled, and their knocks are refused with a reason.
    /// Said again it changes nothing.
    ///
    /// Errors: [`DirectoryError::NotFound`].
    pub async fn suspend_user(&self, name: UserName, now: Stamp) -> Result<Vec<Effect>, DirectoryError> {
        self.write(move |c| {
            if set_suspended(c, &name, true)? {
                end_where(c, "user = ?1", [name.as_str()], EndReason::Revoked, now)?;
                record(c, &AuditEntry::of(AuditKind::UserSuspended, now).user(&name))?;
            }
            let mut effects = publishing::cut_of_user(c, &name)?;
            effects.extend(publishing::changed_of_user(c, &name)?);
            effects.push(Effect::ReloadServices);
            Ok(effects)
        })
        .await
    }

    /// Lifts a suspension. Of a user who isn't suspended it changes nothing.
    ///
    /// Errors: [`DirectoryError::NotFound`].
    pub async fn resume_user(&self, name: UserName, now: Stamp) -> Result<Vec<Effect>, DirectoryError> {
        self.write(move |c| {
            if set_suspended(c, &name, false)? {
                record(c, &AuditEntry::of(AuditKind::UserResumed, now).user(&name))?;
            }
            let mut effects = publishing::changed_of_user(c, &name)?;
            effects.push(Effect::ReloadServices);
            Ok(effects)
        })
        .await
    }

    /// Removes a user with all devices, invitations, and grants by name that were given by command: another user of this name
    /// inherits nothing. The audit log and ended sessions keep the name.
    ///
    /// Errors: [`DirectoryError::NotFound`].
    pub async fn remove_user(&self, name: UserName, now: Stamp) -> Result<Vec<Effect>, DirectoryError> {
        self.write(move |c| {
            must_exist(c, &name)?;
            end_where(c, "user = ?1", [name.as_str()], EndReason::Revoked, now)?;
            let mut effects = publishing::cut_of_user(c, &name)?;
            effects.extend(publishing::changed_of_user(c, &name)?);
            effects.extend(publishing::withdrawn_of_user(c, &name)?);
            c.execute(
                "DELETE FROM knocker WHERE id IN
                 (SELECT id FROM device WHERE user = ?1 UNION SELECT id FROM invitation WHERE user = ?1)",
                [name.as_str()],
            )?;
            c.execute("DELETE FROM user WHERE name = ?1", [name.as_str()])?;
            c.execute(
                "DELETE FROM service_grant WHERE who = ?1
                 AND service IN (SELECT name FROM service WHERE source = 'directory')",
                [Grant::User(name.as_str().to_owned()).to_string()],
            )?;
            record(c, &AuditEntry::of(AuditKind::UserRemoved, now).user(&name))?;
            effects.push(Effect::ReloadServices);
            Ok(effects)
        })
        .await
    }

    /// All users, by name.
    pub async fn users(&self) -> Result<Vec<User>, StoreError> {
        self.list(users).await
    }

    /// One user.
    pub fn user(&self, name: &UserName) -> Result<Option<User>, StoreError> {
        self.look(|c| user(c, name))
    }
}

pub(super) fn user(c: &Connection, name: &UserName) -> Result<Option<User>, StoreError> {
    let found = c
        .prepare_cached("SELECT name, suspended, created FROM user WHERE name = ?1")?
        .query_row([name.as_str()], user_of)
        .optional()?;
    let Some(mut user) = found else { return Ok(None) };
    let mut groups = c.prepare_cached("SELECT name FROM user_group WHERE user = ?1 ORDER BY name")?;
    user.groups = groups.query_map([name.as_str()], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(Some(user))
}

pub(super) fn users(c: &Connection) -> Result<Vec<User>, StoreError> {
    let mut users: Vec<User> = c
        .prepare_cached("SELECT name, suspended, created FROM user ORDER BY name")?
        .query_map([], user_of)?
        .collect::<Result<_, _>>()?;
    let mut groups = c.prepare_cached("SELECT user, name FROM user_group ORDER BY user, name")?;
    let mut rows = groups.query([])?;
    while let Some(row) = rows.next()? {
        let name = user_name(row, 0)?;
        if let Ok(position) = users.binary_search_by(|user| user.name.cmp(&name)) {
            users[position].groups.push(row.get(1)?);
        }
    }
    Ok(users)
}

/// The user, who must not be suspended.
pub(super) fn must_be_in_good_standing(c: &Connection, name: &UserName) -> Result<(), DirectoryError> {
    if must_exist(c, name)?.suspended {
        return Err(DirectoryError::Invalid(format!("the user `{name}` is suspended")));
    }
    Ok(())
}

pub(super) fn must_exist(c: &Connection, name: &UserName) -> Result<User, DirectoryError> {
    user(c, name)?.ok_or_else(|| DirectoryError::not_found(What::User, name))
}

fn user_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<User> {
    Ok(User { name: user_name(row, 0)?, groups: Vec::new(), suspended: row.get(1)?, created: stamp(row, 2)? })
}

/// Whether that changes anything.
fn set_suspended(c: &Connection, name: &UserName, suspended: bool) -> Result<bool, DirectoryError> {
    let changes = must_exist(c, name)?.suspended != suspended;
    c.execute("UPDATE user SET suspended = ?2 WHERE name = ?1", (name.as_str(), suspended))?;
    Ok(changes)
}

fn insert_groups(c: &Connection, name: &UserName, groups: &[String]) -> Result<(), DirectoryError> {
    let mut insert = c.prepare_cached("INSERT INTO user_group (user, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
    for group in groups {
        insert.execute((name.as_str(), group))?;
    }
    Ok(())
}

fn checked(groups: &[String]) -> Result<Vec<String>, DirectoryError> {
    if groups.len() > GROUPS_PER_USER {
        return Err(DirectoryError::Invalid(format!("a user may be in {GROUPS_PER_USER} groups")));
    }
    let read = |group: &String| check_group_name(group).map_err(|error| DirectoryError::Invalid(error.to_string()));
    groups.iter().map(read).collect()
}
