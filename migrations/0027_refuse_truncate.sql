-- TRUNCATE has a trigger of its own: whoever must switch off one of the two refusals, to mend a row under supervision,
-- leaves the other in force.

-- Rather one trigger for now than writers who wait for somebody who reads for long.
set local lock_timeout = '10s';

create or replace trigger refuse_change before update or delete on events
for each statement execute function refuse_change();
create trigger refuse_truncate before truncate on events
for each statement execute function refuse_change();

create or replace trigger refuse_change before insert or delete on book_head
for each statement execute function refuse_change();
create trigger refuse_truncate before truncate on book_head
for each statement execute function refuse_change();

create or replace trigger refuse_change before delete on transparency_log
for each statement execute function refuse_change();
create trigger refuse_truncate before truncate on transparency_log
for each statement execute function refuse_change();

create or replace trigger refuse_change before update or delete on log_checkpoints
for each statement execute function refuse_change();
create trigger refuse_truncate before truncate on log_checkpoints
for each statement execute function refuse_change();
