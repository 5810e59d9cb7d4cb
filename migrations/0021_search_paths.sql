-- A temporary table hides a table of the same name from a function whose search_path does not name `pg_temp`, which
-- PostgreSQL then looks through first. With one called `book_head` the application could have appended where the book does
-- not end. Named last, `pg_temp` hides nothing.
do $$
declare
    name text;
begin
    foreach name in array array['give_position', 'advance_head', 'keep_transparency_log', 'guard_log_checkpoint'] loop
        execute format('alter function %I() set search_path = %s, pg_temp', name, current_setting('search_path'));
    end loop;
end
$$;
