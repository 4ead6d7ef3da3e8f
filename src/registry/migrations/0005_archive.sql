-- Increments of 1 GB of the archive, besides the plan's own.
ALTER TABLE accounts ADD COLUMN archive_increments INTEGER NOT NULL DEFAULT 0
    CHECK (archive_increments >= 0);
