-- The lines that concern one customer's account are found by their entry: each leg of it concerns the same account, and
-- the first one is in the index for all of them. That halves what is the dearest of the journal's indexes to keep. A
-- program of before looks through the whole journal for the lines of an account.

-- Rather no new index for now than readers who wait for somebody who reads for long.
set local lock_timeout = '10s';

do $$
declare
    builds regclass[] := array(
        select oid::regclass from pg_class
        where relnamespace = (select oid from pg_namespace where nspname = current_schema()) and relkind = 'r'
            and relname ~ '^journal_lines_v1(_b[0-9]+)?$'
        order by relname
    );
    made regclass;
    other regclass;
begin
    foreach made in array builds loop
        execute format('create index on %s (account_id, position) where leg = 1 and account_id is not null', made);
    end loop;
    -- Last, since nobody can read the tables from here on until this is done.
    foreach made in array builds loop
        for other in
            select indexrelid::regclass from pg_index
            where indrelid = made and pg_get_indexdef(indexrelid) like '% (account_id, "position") WHERE (account_id IS NOT NULL)'
        loop
            execute format('drop index %s', other);
        end loop;
    end loop;
end
$$;
