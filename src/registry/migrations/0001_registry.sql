-- Instants are milliseconds since 1970-01-01T00:00:00Z. Numbers are never used twice.

CREATE TABLE domains (
    domain_id  INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Lower case, A-labels.
    name       TEXT NOT NULL UNIQUE,
    -- 'service': the provider's own domain, for its service account only.
    kind       TEXT NOT NULL CHECK (kind IN ('pec', 'service')),
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE owners (
    owner_id       INTEGER PRIMARY KEY AUTOINCREMENT,
    kind           TEXT NOT NULL CHECK (kind IN ('persona-fisica', 'persona-giuridica')),
    given_name     TEXT,
    -- The family name of a person, the whole name of a body.
    name           TEXT NOT NULL,
    codice_fiscale TEXT UNIQUE,
    -- Not unique: companies of one VAT group share it.
    partita_iva    TEXT,
    created_at     INTEGER NOT NULL,
    changed_at     INTEGER NOT NULL,
    CHECK ((kind = 'persona-fisica') = (given_name IS NOT NULL)),
    CHECK (codice_fiscale IS NOT NULL OR partita_iva IS NOT NULL)
) STRICT;

CREATE INDEX owners_by_name ON owners (name);
CREATE INDEX owners_by_partita_iva ON owners (partita_iva);

CREATE TABLE accounts (
    -- Also the store's AccountId: AUTOINCREMENT, so that a number never comes back.
    account_id      INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Unique for ever: the address of a closed account is not given to somebody else.
    address         TEXT NOT NULL UNIQUE,
    domain_id       INTEGER NOT NULL REFERENCES domains (domain_id),
    owner_id        INTEGER REFERENCES owners (owner_id),
    plan            TEXT NOT NULL,
    increments      INTEGER NOT NULL DEFAULT 0 CHECK (increments >= 0),
    state           TEXT NOT NULL CHECK (state IN ('active', 'blocked', 'closed')),
    block_reason    TEXT,
    created_at      INTEGER NOT NULL,
    changed_at      INTEGER NOT NULL,
    closed_at       INTEGER,
    -- Counts the changes; the store takes each version once.
    version         INTEGER NOT NULL,
    -- The last version that the store is known to have; 0 = none.
    applied_version INTEGER NOT NULL DEFAULT 0,
    -- The limits of `version`, to see when the configuration has changed them.
    limits          TEXT NOT NULL,
    CHECK ((state = 'blocked') = (block_reason IS NOT NULL)),
    CHECK ((state = 'closed') = (closed_at IS NOT NULL)),
    CHECK ((plan = 'service') = (owner_id IS NULL))
) STRICT;

CREATE INDEX accounts_by_owner ON accounts (owner_id);
CREATE INDEX accounts_by_domain ON accounts (domain_id);

CREATE TABLE credentials (
    account_id       INTEGER PRIMARY KEY REFERENCES accounts (account_id),
    -- PHC string: algorithm, parameters, salt and hash.
    argon2           TEXT NOT NULL,
    -- RFC 5802 §3: StoredKey and ServerKey, never the salted password.
    scram_salt       BLOB NOT NULL,
    scram_iterations INTEGER NOT NULL,
    scram_stored_key BLOB NOT NULL,
    scram_server_key BLOB NOT NULL,
    changed_at       INTEGER NOT NULL
) STRICT;

-- What the store must be told. A row is written in the transaction that makes the change, and
-- deleted once the store has it.
CREATE TABLE outbox (
    outbox_id  INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER NOT NULL REFERENCES accounts (account_id),
    version    INTEGER NOT NULL,
    -- JSON of `AccountChange`.
    change     TEXT NOT NULL,
    UNIQUE (account_id, version)
) STRICT;
