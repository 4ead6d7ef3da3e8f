-- Where receipts of what the account sends are filed.
ALTER TABLE accounts ADD COLUMN receipts TEXT NOT NULL DEFAULT 'inbox'
    CHECK (receipts IN ('inbox', 'sent', 'ricevute'));
