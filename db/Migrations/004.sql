-- What requests with an Idempotency-Key were answered. The row is written with the operation that the request begins, in one transaction, and
-- has no answer until there is one: a request that is repeated after a crash finds its operation and begins no other.

CREATE TABLE answers (
  host        TEXT    NOT NULL,
  token       TEXT    NOT NULL, -- whose key it is
  key         TEXT    NOT NULL,
  fingerprint TEXT    NOT NULL, -- of the request that it came with
  operation   INTEGER,
  answer      TEXT,             -- sealed: it is for who asked only
  created_at  TEXT    NOT NULL,
  PRIMARY KEY (host, token, key)
) STRICT;

CREATE INDEX answers_by_age ON answers (host, created_at);
