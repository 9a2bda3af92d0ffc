//! The connection server: directory, admission, login, sessions, tunnel
