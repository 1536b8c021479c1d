-- Why nothing may be started on a container: its group is not the one that was claimed.

ALTER TABLE containers ADD COLUMN fence TEXT;
