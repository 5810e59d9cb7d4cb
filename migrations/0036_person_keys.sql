-- The keys that texts about persons are sealed by in the book: one at a time for each person. They lie beside the book, so that
-- destroying one erases its texts wherever they are stored, and the book and its log stay as they are.
create table person_keys (
    -- The stored texts name it.
    id text primary key,
    -- Whom the texts are about: the identifier of a customer, of a payer.
    person text not null,
    -- The key, sealed by the master key, which lies outside of the database; null once it is destroyed.
    wrapped bytea,
    -- The id of the master key that wraps it.
    master_key text not null,
    made_at timestamptz not null default clock_timestamp(),
    -- When the texts were erased.
    erased_at timestamptz,
    constraint person_keys_erased check ((wrapped is null) = (erased_at is not null))
);

-- New texts about a person are sealed by one key, whichever process writes them; it is found by the person.
create unique index person_keys_person on person_keys (person) where erased_at is null;

-- The id of the ledger's master key, from the first text that was sealed: no process seals by another one.
create table master_key (
    singleton boolean primary key default true constraint master_key_has_one_row check (singleton),
    id text not null,
    used_from timestamptz not null default clock_timestamp()
);

-- A payer's state holds texts about a person and is not kept any more; those that were kept hold them plain.
delete from aggregate_snapshots where aggregate_type = 'payer';
