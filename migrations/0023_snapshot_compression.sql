-- Of an account with many open entries a snapshot has megabytes, and is written again and again while the account grows.
-- LZ4 compresses it several times as fast as PostgreSQL's own method, which stays where PostgreSQL was built without.

-- Rather the slower method for now than commands that wait for somebody who reads for long, such as a dump.
set local lock_timeout = '10s';

do $$
begin
    alter table aggregate_snapshots alter column state set compression lz4;
exception
    when feature_not_supported then null;
end
$$;
