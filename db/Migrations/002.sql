-- Somebody's word that a device may be taken although the host uses it, until expires_at.

CREATE TABLE overrides (
  host       TEXT NOT NULL,
  address    TEXT NOT NULL,
  reason     TEXT NOT NULL,
  actor      TEXT NOT NULL,
  created_at TEXT NOT NULL,
  expires_at TEXT NOT NULL,
  PRIMARY KEY (host, address)
) STRICT;
