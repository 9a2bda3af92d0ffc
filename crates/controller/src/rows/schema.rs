//! The tables of the controller's database. A published step never changes; add a new one behind it.

use vestibule_store::Migration;

/// The schema, step by step.
pub(super) const MIGRATIONS: &[Migration] = &[Migration {
    name: "gateways and rows",
    sql: "
        CREATE TABLE gateway (
            id   BLOB PRIMARY KEY CHECK (length(id) = 16),
            name TEXT NOT NULL UNIQUE,
            -- The key of its links and published rows; NULL until its first link.
            spki BLOB CHECK (length(spki) = 44)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE knock_row (
            digest          BLOB PRIMARY KEY CHECK (length(digest) = 32),
            -- One owner's, under one digest, or under two while a digest changes.
            device_key      BLOB NOT NULL CHECK (length(device_key) = 32),
            psk_c           BLOB NOT NULL CHECK (length(psk_c) = 32),
            -- 0: published by gateways for a device. 1: a gateway's own, for its link.
            is_link         INTEGER NOT NULL CHECK (is_link IN (0, 1)),
            -- Milliseconds since the epoch; the row of an invitation that was not used yet.
            temporary_until INTEGER
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX knock_row_by_device_key ON knock_row (device_key);

        -- The gateways that serve a row: several when a cluster shares its devices.
        CREATE TABLE row_owner (
            digest  BLOB NOT NULL REFERENCES knock_row ON DELETE CASCADE,
            gateway BLOB NOT NULL REFERENCES gateway ON DELETE CASCADE,
            PRIMARY KEY (digest, gateway)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX row_owner_by_gateway ON row_owner (gateway);

        -- Milliseconds since the epoch: the highest stamp ever accepted under a digest, never going back. It stays when
        -- the row is withdrawn, so that recordings are met with silence if it is published again.
        CREATE TABLE knock_last (
            digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
            last   INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
    ",
}];
