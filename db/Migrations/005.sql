-- Who may use the API, besides the administrator's own token.

CREATE TABLE tokens (
  host         TEXT NOT NULL,
  id           TEXT NOT NULL,
  name         TEXT NOT NULL,
  role         TEXT NOT NULL,
  hash         TEXT NOT NULL, -- SHA-256 of the token, which itself is nowhere
  created_at   TEXT NOT NULL,
  expires_at   TEXT,
  last_used_at TEXT,
  PRIMARY KEY (host, id),
  UNIQUE (host, name),
  UNIQUE (host, hash)
) STRICT;
