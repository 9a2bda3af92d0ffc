//! The connection server: directory, admission, login, sessions, tunnel

pub mod admin;
pub mod directory;
