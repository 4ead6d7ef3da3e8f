-- What logins need besides credentials.

-- Keys that every process of this provider shares, drawn once.
CREATE TABLE secrets (
    name   TEXT PRIMARY KEY,
    octets BLOB NOT NULL
) STRICT;

-- Where an account was logged in from: an IPv4 address or an IPv6 network of 64 bits. These
-- sources stay open when others fail too often in the account's name.
CREATE TABLE login_sources (
    account_id INTEGER NOT NULL REFERENCES accounts (account_id),
    source     TEXT NOT NULL,
    seen_at    INTEGER NOT NULL,
    PRIMARY KEY (account_id, source)
) STRICT, WITHOUT ROWID;
