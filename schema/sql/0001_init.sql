-- Accounts with their heads, and the journal of their events.
CREATE TABLE accounts (
  id      INTEGER PRIMARY KEY,
  created INTEGER NOT NULL,
  email   TEXT UNIQUE,
  seq     INTEGER NOT NULL,
  balance INTEGER NOT NULL,
  head    TEXT NOT NULL
) STRICT;

-- kind: 1 settled, 2 adjusted, 3 received, 4 refunded. `request` and `source` make events unique.
CREATE TABLE events (
  account       INTEGER NOT NULL,
  seq           INTEGER NOT NULL,
  kind          INTEGER NOT NULL,
  request       BLOB,
  source        TEXT,
  balance_after INTEGER NOT NULL,
  recovered     INTEGER NOT NULL,
  body          TEXT NOT NULL,
  PRIMARY KEY (account, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX events_by_request ON events (request, kind) WHERE request IS NOT NULL;
CREATE UNIQUE INDEX events_by_source ON events (source) WHERE source IS NOT NULL;
-- Settlements that were not the request's own: the request may still come to correct them.
CREATE INDEX events_recovered ON events (account, seq) WHERE recovered = 1;

-- Open holds that are older than a second.
CREATE TABLE checkpoints (
  request BLOB PRIMARY KEY,
  account INTEGER NOT NULL,
  number  INTEGER NOT NULL,
  body    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX checkpoints_by_account ON checkpoints (account);

CREATE TABLE partners (
  id          INTEGER PRIMARY KEY,
  publishable TEXT NOT NULL UNIQUE,
  secret_hash BLOB NOT NULL UNIQUE,
  earned      INTEGER NOT NULL DEFAULT 0,
  paid_out    INTEGER NOT NULL DEFAULT 0,
  body        TEXT NOT NULL
) STRICT;

-- A partner's requests, newest last, and where their events are.
CREATE TABLE partner_usage (
  partner INTEGER NOT NULL,
  request BLOB NOT NULL,
  kind    INTEGER NOT NULL,
  account INTEGER NOT NULL,
  seq     INTEGER NOT NULL,
  PRIMARY KEY (partner, request, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE partner_days (
  partner  INTEGER NOT NULL,
  day      INTEGER NOT NULL,
  model    TEXT NOT NULL,
  requests INTEGER NOT NULL,
  cost     INTEGER NOT NULL,
  share    INTEGER NOT NULL,
  PRIMARY KEY (partner, day, model)
) STRICT, WITHOUT ROWID;

CREATE TABLE payouts (
  entry     TEXT PRIMARY KEY,
  partner   INTEGER NOT NULL,
  credits   INTEGER NOT NULL,
  reference TEXT NOT NULL,
  at        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
  id      INTEGER PRIMARY KEY,
  hash    BLOB NOT NULL UNIQUE,
  account INTEGER NOT NULL,
  body    TEXT NOT NULL
) STRICT;
CREATE INDEX keys_by_account ON keys (account);

-- Price rows that holds were placed with, by content id, so that anyone can recompute a bill.
CREATE TABLE prices (
  id   TEXT PRIMARY KEY,
  body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Idempotency keys of the admin API.
CREATE TABLE once (
  key         TEXT PRIMARY KEY,
  fingerprint BLOB NOT NULL,
  answer      TEXT NOT NULL
) STRICT, WITHOUT ROWID;
