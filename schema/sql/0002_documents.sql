-- Small records beside the accounts: orders, logins, webhooks that were worked off, consents.
CREATE TABLE documents (
  kind    INTEGER NOT NULL,
  id      TEXT NOT NULL,
  version INTEGER NOT NULL,
  name    TEXT,
  due     INTEGER,
  body    TEXT NOT NULL,
  PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX documents_by_name ON documents (kind, name) WHERE name IS NOT NULL;
CREATE INDEX documents_by_due ON documents (kind, due) WHERE due IS NOT NULL;
