-- What a change takes from a person, such as the sessions that began with the password of before. It is written before the
-- change and removed when all of it is done, so that a process that is killed in between leaves it to the next one.
create table cut_offs (
    id uuid primary key,
    -- The command that makes the change: its events bear it.
    command_id uuid not null,
    user_id text not null,
    -- Why the sessions end; null if only links are withdrawn.
    ended_by text,
    -- The session that made the change, and goes on.
    kept_session text,
    made_at timestamptz not null
);

-- Who has signed up and has not yet shown that the mail address is theirs. Neither the customer nor the user exists before
-- that. Its link is in one_time_links. A row goes when it is confirmed, and when it has expired.
create table sign_ups (
    id text primary key,
    -- What the name to sign in by is called in the book.
    login_name text not null,
    mail text not null,
    name text not null,
    -- argon2id with its parameters and its salt, as a PHC string.
    password_hash text not null,
    terms_dated date not null,
    -- SHA-256 of the text, in hexadecimal digits.
    terms_hash text not null,
    network text not null,
    made_at timestamptz not null,
    expires_at timestamptz not null
);

-- How many of one network were tried, and how many were taken, in an hour.
create table sign_up_counts (
    hour timestamptz not null,
    network text not null,
    tried integer not null,
    taken integer not null,
    primary key (hour, network)
);
