-- The first shape of the store. Every table carries the host, so that a fleet can keep the same tables in one database.

CREATE TABLE guests (
  host        TEXT    NOT NULL,
  name        TEXT    NOT NULL,
  spec        TEXT    NOT NULL, -- JSON: what was asked for
  generation  INTEGER NOT NULL,
  state       TEXT    NOT NULL,
  uid         INTEGER NOT NULL, -- that its process runs as
  pid         INTEGER,          -- of its process, with the start time: a pid alone may have been used again
  start_time  INTEGER,
  error       TEXT,
  created_at  TEXT    NOT NULL,
  PRIMARY KEY (host, name)
) STRICT;

-- One row is one container and has one group: a second group in a container has no place to stand, and a second container
-- for a group breaks the UNIQUE below as well as the primary key of container_members.
CREATE TABLE containers (
  host         TEXT    NOT NULL,
  id           TEXT    NOT NULL,
  group_number INTEGER,         -- the kernel's number at this boot; null while the group is not there
  backend      TEXT,
  guest        TEXT,
  state        TEXT    NOT NULL,
  keep         INTEGER NOT NULL,
  iommu        TEXT,            -- JSON: what the kernel said of the IOMMU
  reports      TEXT    NOT NULL,-- JSON: what it said of the devices
  error        TEXT,
  created_at   TEXT    NOT NULL,
  PRIMARY KEY (host, id),
  UNIQUE (host, group_number),
  FOREIGN KEY (host, guest) REFERENCES guests (host, name) DEFERRABLE INITIALLY DEFERRED
) STRICT;

-- A device is in at most one container, and original_driver is written before the driver is unbound.
CREATE TABLE container_members (
  host            TEXT    NOT NULL,
  address         TEXT    NOT NULL,
  container       TEXT    NOT NULL,
  vendor_id       INTEGER NOT NULL,
  device_id       INTEGER NOT NULL,
  serial          TEXT,
  is_bridge       INTEGER NOT NULL,
  original_driver TEXT,
  PRIMARY KEY (host, address),
  FOREIGN KEY (host, container) REFERENCES containers (host, id) ON DELETE CASCADE
) STRICT;

-- A device is in at most one guest. Its container is the one that its group has, or gets when the guest next starts.
CREATE TABLE guest_devices (
  host      TEXT NOT NULL,
  address   TEXT NOT NULL,
  guest     TEXT NOT NULL,
  container TEXT NOT NULL,
  state     TEXT NOT NULL,
  bus       TEXT,
  slot      INTEGER,
  PRIMARY KEY (host, address),
  FOREIGN KEY (host, guest) REFERENCES guests (host, name) ON DELETE CASCADE
) STRICT;

CREATE TABLE quarantines (
  host    TEXT NOT NULL,
  address TEXT NOT NULL,
  reason  TEXT NOT NULL,
  since   TEXT NOT NULL,
  PRIMARY KEY (host, address)
) STRICT;

-- The journal. Steps are written and read only as a whole, so they are one JSON column.
CREATE TABLE operations (
  host        TEXT    NOT NULL,
  id          INTEGER NOT NULL,
  kind        TEXT    NOT NULL,
  subject     TEXT    NOT NULL,
  change      TEXT    NOT NULL, -- JSON: what was asked for
  actor       TEXT    NOT NULL,
  state       TEXT    NOT NULL,
  steps       TEXT    NOT NULL, -- JSON
  error       TEXT,             -- JSON
  warnings    TEXT    NOT NULL, -- JSON
  created_at  TEXT    NOT NULL,
  finished_at TEXT,
  PRIMARY KEY (host, id)
) STRICT;

CREATE INDEX operations_unfinished ON operations (host, id) WHERE finished_at IS NULL;

CREATE TABLE events (
  host      TEXT    NOT NULL,
  id        INTEGER NOT NULL,
  time      TEXT    NOT NULL,
  kind      TEXT    NOT NULL,
  subject   TEXT    NOT NULL,
  operation INTEGER,
  actor     TEXT    NOT NULL,
  data      TEXT,
  PRIMARY KEY (host, id)
) STRICT;
