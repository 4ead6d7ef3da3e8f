-- Whether the account takes certified mail only: ordinary mail to it is refused.
ALTER TABLE accounts ADD COLUMN certified_mail_only INTEGER NOT NULL DEFAULT 0
    CHECK (certified_mail_only IN (0, 1));
