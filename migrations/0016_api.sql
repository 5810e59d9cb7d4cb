-- What the API keeps for itself.

-- Secrets that every process on a ledger must share: made at random by the first one, gone with the ledger.
create table api_keys (
    -- What the key is for, such as `cursor`.
    name text primary key,
    key bytea not null
);
