-- A customer's invoices in the order of their days of issue, which is what is asked for most next to the newest first.

-- Rather no new index for now than readers who wait for somebody who reads for long.
set local lock_timeout = '10s';

do $$
declare
    made regclass;
begin
    for made in
        select oid::regclass from pg_class
        where relnamespace = (select oid from pg_namespace where nspname = current_schema()) and relkind = 'r'
            and relname ~ '^invoices_v1(_b[0-9]+)?$'
        order by relname
    loop
        execute format('create index on %s (customer_id, issued_on, position)', made);
    end loop;
end
$$;
