-- How far the ahead log is applied: its name, and the last of its generations that this database holds.
CREATE TABLE IF NOT EXISTS ahead (
  log        INTEGER NOT NULL,
  generation INTEGER NOT NULL
) STRICT;
INSERT INTO ahead (log, generation) SELECT random(), 0 WHERE NOT EXISTS (SELECT 1 FROM ahead);
