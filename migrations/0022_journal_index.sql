-- The lines that concern one customer's account are found by their entry: each leg of it concerns the same account, and
-- the first one is in the index for all of them. That halves what is the dearest of the journal's indexes to keep.

do $$
declare
    made regclass;
    other regclass;
begin
    for made in
        select oid::regclass from pg_class
        where relnamespace = current_schema()::regnamespace and relkind = 'r' and relname ~ '^journal_lines_v1(_b[0-9]+)?$'
    loop
        for other in
            select indexrelid::regclass from pg_index
            where indrelid = made and pg_get_indexdef(indexrelid) like '% (account_id, "position") WHERE (account_id IS NOT NULL)'
        loop
            execute format('drop index %s', other);
        end loop;
        execute format(
            'create index on %s (account_id, position) where leg = 1 and account_id is not null', made
        );
    end loop;
end
$$;
