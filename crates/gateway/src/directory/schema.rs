//! The tables of the gateway's database. A published step never changes; add a new one behind it.
//!
//! Times are milliseconds since the Unix epoch. Ids and keys are their bytes.

use vestibule_store::Migration;

/// The schema, step by step.
pub(super) const MIGRATIONS: &[Migration] = &[DIRECTORY, SEEN_MARK, RENEWALS, APPROVALS, DIRECT, UDP];

/// A table can't be told of another kind: services move to one that knows it, and their grants with them. Grants first, or they would be
/// dropped with the former table.
const UDP: Migration = Migration {
    name: "UDP services",
    sql: "
        CREATE TABLE service_with_udp (
            name     TEXT PRIMARY KEY,
            kind     TEXT NOT NULL CHECK (kind IN ('tcp', 'web', 'udp')),
            upstream TEXT NOT NULL,
            -- file: from the configuration file. directory: added by its owner's command.
            source   TEXT NOT NULL CHECK (source IN ('file', 'directory')),
            direct   INTEGER CHECK (direct BETWEEN 1 AND 65535)
        ) STRICT, WITHOUT ROWID;
        INSERT INTO service_with_udp (name, kind, upstream, source, direct)
            SELECT name, kind, upstream, source, direct FROM service;

        CREATE TABLE grant_with_udp (
            service TEXT NOT NULL REFERENCES service_with_udp ON DELETE CASCADE,
            who     TEXT NOT NULL,
            PRIMARY KEY (service, who)
        ) STRICT, WITHOUT ROWID;
        INSERT INTO grant_with_udp (service, who) SELECT service, who FROM service_grant;

        DROP TABLE service_grant;
        DROP TABLE service;
        -- What refers to a table follows its new name.
        ALTER TABLE service_with_udp RENAME TO service;
        ALTER TABLE grant_with_udp RENAME TO service_grant;
    ",
};

const DIRECT: Migration = Migration {
    name: "services at a port of the gateway's machine",
    sql: "
        ALTER TABLE service ADD COLUMN direct INTEGER CHECK (direct BETWEEN 1 AND 65535);
    ",
};

const APPROVALS: Migration = Migration {
    name: "devices that wait for their owner's word",
    sql: "
        -- 1: its row is not published, and it is not admitted, until the gateway's owner has approved it.
        ALTER TABLE device ADD COLUMN awaits INTEGER NOT NULL DEFAULT 0 CHECK (awaits IN (0, 1));
    ",
};

/// Knocks stamped up to `until` may stand in the seen-set unsynced, written in this run of the machine.
const SEEN_MARK: Migration = Migration {
    name: "the mark of the seen-set",
    sql: "
        CREATE TABLE seen_mark (
            one   INTEGER PRIMARY KEY CHECK (one = 1),
            run   TEXT NOT NULL,
            until INTEGER NOT NULL
        ) STRICT;
    ",
};

const DIRECTORY: Migration = Migration {
    name: "the directory",
    sql: "
        CREATE TABLE user (
            name      TEXT PRIMARY KEY,
            suspended INTEGER NOT NULL DEFAULT 0 CHECK (suspended IN (0, 1)),
            created   INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE user_group (
            user TEXT NOT NULL REFERENCES user ON DELETE CASCADE,
            name TEXT NOT NULL,
            PRIMARY KEY (user, name)
        ) STRICT, WITHOUT ROWID;

        -- Whoever may knock: a device, or an invitation, which is a device that doesn't exist yet.
        -- C13: a digest and a D_out stand once in the whole table.
        CREATE TABLE knocker (
            id         BLOB PRIMARY KEY CHECK (length(id) = 16),
            digest     BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
            d_out      BLOB NOT NULL UNIQUE CHECK (length(d_out) = 32),
            -- C12: wrong passwords since the last login, by knock and by login together.
            guesses    INTEGER NOT NULL DEFAULT 0,
            last_guess INTEGER NOT NULL DEFAULT 0,
            -- Stamps up to here were forgotten by the seen-set and are never fresh again, whatever the clock says.
            seen_floor INTEGER NOT NULL DEFAULT -1
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE device (
            id            BLOB PRIMARY KEY REFERENCES knocker ON DELETE CASCADE,
            user          TEXT NOT NULL REFERENCES user ON DELETE CASCADE,
            name          TEXT NOT NULL,
            state         TEXT NOT NULL CHECK (state IN ('pending', 'active', 'revoked')),
            invitation    BLOB,
            d_in          BLOB NOT NULL CHECK (length(d_in) = 32),
            d_tls         BLOB NOT NULL CHECK (length(d_tls) = 44),
            psk_c         BLOB NOT NULL CHECK (length(psk_c) = 32),
            psk_r         BLOB NOT NULL CHECK (length(psk_r) = 32),
            psk_g         BLOB NOT NULL CHECK (length(psk_g) = 32),
            -- OPAQUE record and the parameters of the key stretching that it was made with.
            record        BLOB NOT NULL,
            ksf_memory    INTEGER NOT NULL,
            ksf_passes    INTEGER NOT NULL,
            ksf_lanes     INTEGER NOT NULL,
            fingerprint   BLOB NOT NULL CHECK (length(fingerprint) = 32),
            version_floor INTEGER NOT NULL,
            created       INTEGER NOT NULL,
            last_seen     INTEGER
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX device_by_user ON device (user);

        -- What recognises the link, never what is in it: its secrets and the private keys are with the invited alone.
        CREATE TABLE invitation (
            id      BLOB PRIMARY KEY REFERENCES knocker ON DELETE CASCADE,
            user    TEXT NOT NULL REFERENCES user ON DELETE CASCADE,
            d_in    BLOB NOT NULL CHECK (length(d_in) = 32),
            d_tls   BLOB NOT NULL CHECK (length(d_tls) = 44),
            psk_c   BLOB NOT NULL CHECK (length(psk_c) = 32),
            psk_r   BLOB NOT NULL CHECK (length(psk_r) = 32),
            psk_g   BLOB NOT NULL CHECK (length(psk_g) = 32),
            -- expired: it was noticed, and stays so whatever the clock says.
            state   TEXT NOT NULL CHECK (state IN ('open', 'used', 'revoked', 'expired')),
            created INTEGER NOT NULL,
            expires INTEGER NOT NULL,
            used    INTEGER,
            used_by BLOB
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX invitation_by_user ON invitation (user);

        CREATE TABLE seen (
            device   BLOB NOT NULL REFERENCES knocker ON DELETE CASCADE,
            knock_id BLOB NOT NULL CHECK (length(knock_id) = 16),
            stamp    INTEGER NOT NULL,
            PRIMARY KEY (device, knock_id)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE service (
            name     TEXT PRIMARY KEY,
            kind     TEXT NOT NULL CHECK (kind IN ('tcp', 'web')),
            upstream TEXT NOT NULL,
            -- file: from the configuration file. directory: added by its owner's command.
            source   TEXT NOT NULL CHECK (source IN ('file', 'directory'))
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE service_grant (
            service TEXT NOT NULL REFERENCES service ON DELETE CASCADE,
            who     TEXT NOT NULL,
            PRIMARY KEY (service, who)
        ) STRICT, WITHOUT ROWID;

        -- Sessions outlive their user and device here, ended, so that the list tells what was.
        CREATE TABLE session (
            id            BLOB PRIMARY KEY CHECK (length(id) = 16),
            user          TEXT NOT NULL,
            device        BLOB NOT NULL,
            -- NULL once the session has ended.
            resume_secret BLOB CHECK (length(resume_secret) = 32),
            address       TEXT NOT NULL,
            created       INTEGER NOT NULL,
            expires       INTEGER NOT NULL,
            idle_limit    INTEGER NOT NULL,
            last_use      INTEGER NOT NULL,
            ended         INTEGER,
            reason        TEXT
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX session_by_device ON session (device);
        CREATE INDEX session_by_user ON session (user);

        CREATE TABLE audit (
            id      INTEGER PRIMARY KEY AUTOINCREMENT,
            time    INTEGER NOT NULL,
            kind    TEXT NOT NULL,
            user    TEXT,
            device  BLOB,
            session BLOB,
            address TEXT,
            detail  TEXT NOT NULL
        ) STRICT;
        CREATE INDEX audit_by_user ON audit (user, id);
    ",
};

const RENEWALS: Migration = Migration {
    name: "invitations by which a device replaces itself",
    sql: "
        -- The device that the invited one takes the place of.
        ALTER TABLE invitation ADD COLUMN replaces BLOB CHECK (length(replaces) = 16);
    ",
};
