-- The schema as the migrations make it, for reading only. A test writes and compares it.

CREATE SCHEMA public_own;

CREATE FUNCTION public.access_log_forget(moment timestamp with time zone) RETURNS SETOF text
    LANGUAGE plpgsql
    SET search_path TO '$user', 'public', 'pg_temp'
    AS $$
declare
    part text;
begin
    for part in
        select relname::text collate "C" from pg_inherits join pg_class on oid = inhrelid
        where inhparent = 'access_log'::regclass
            and relname::text collate "C" < 'access_log_' || to_char(moment at time zone 'UTC', 'YYYY_MM')
        order by 1
    loop
        execute format('drop table %I', part);
        return next part;
    end loop;
end
$$;

CREATE FUNCTION public.access_log_month(moment timestamp with time zone) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO '$user', 'public', 'pg_temp'
    AS $$
declare
    month timestamp := date_trunc('month', moment at time zone 'UTC');
    part text := 'access_log_' || to_char(month, 'YYYY_MM');
begin
    -- Parts are sorted by name, and nobody is to make them without end.
    if month not between '2000-01-01' and '2199-12-01' then
        raise exception 'no part of the access log is made for %', month using errcode = 'datetime_field_overflow';
    end if;
    perform pg_advisory_xact_lock(hashtextextended('daybook access log ' || current_schema(), 0));
    if to_regclass(part) is not null then
        return;
    end if;
    -- Attached, since a part that is created as one locks everybody out of the whole log.
    execute format('create table %I (like access_log including all)', part);
    execute format(
        'create trigger refuse_truncate before truncate on %I for each statement execute function refuse_access_log_change()',
        part
    );
    execute format(
        'alter table access_log attach partition %I for values from (%L) to (%L)',
        part, month at time zone 'UTC', (month + interval '1 month') at time zone 'UTC'
    );
end
$$;

CREATE FUNCTION public.advance_head() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO '$user', 'public', 'pg_temp'
    AS $$
declare
    added record;
begin
    -- It moves the head in its owner's name, so that it must not be anybody's trigger on a table of his own.
    if tg_relid <> 'events'::regclass then
        raise exception 'only events move the head of the book' using errcode = 'insufficient_privilege';
    end if;
    select count(*) as number, min(e.position) as first, max(e.position) as last, min(e.recorded_at) as earliest,
        max(e.recorded_at) as latest
    into added
    from appended e;
    -- No two events have the same position, so that so many from the first to the last leave no gap.
    update book_head h
    set position = added.last, recorded_at = added.latest
    where h.position = added.first - 1 and added.last = h.position + added.number
        and h.recorded_at <= added.earliest and added.earliest = added.latest
        and (added.latest <= h.recorded_at or added.latest <= clock_timestamp() + interval '5 minutes')
        and (h.position = 0 or exists (select from events e where e.position = h.position));
    if not found then
        perform check_appended();
    end if;
    return null;
end
$$;

CREATE FUNCTION public.check_appended() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO '$user', 'public', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    SET jit TO 'off'
    AS $$
declare
    head record;
    tail record;
begin
    -- By itself, so that what follows sees all that others had appended when the lock was given.
    select h.position, h.recorded_at into strict head from book_head h order by h.position desc limit 1 for update;
    select count(*) as number, max(e.position) as last, min(e.recorded_at) as earliest, max(e.recorded_at) as latest
    into tail
    from events e
    where e.position > head.position;
    -- A row may have moved the head and then been dropped, by `on conflict do nothing`.
    if head.position > 0 and not exists (
        select from events e where e.position = head.position and e.recorded_at = head.recorded_at
    ) then
        raise exception 'no event stands at position %, or not of the time of the head', head.position
        using errcode = 'integrity_constraint_violation', constraint = 'events_positions_dense', table = 'events';
    end if;
    if tail.number = 0 then
        return;
    end if;
    if tail.last <> head.position + tail.number then
        raise exception 'positions must follow % without a gap', head.position
        using errcode = 'integrity_constraint_violation', constraint = 'events_positions_dense', table = 'events';
    end if;
    if tail.earliest < head.recorded_at or tail.earliest <> tail.latest then
        raise exception 'what is appended at once was recorded at one time, and not before what stands in the book'
        using errcode = 'integrity_constraint_violation', constraint = 'events_recorded_in_order', table = 'events';
    end if;
    if tail.latest > head.recorded_at and tail.latest > clock_timestamp() + interval '5 minutes' then
        raise exception 'recorded_at lies more than five minutes ahead of the clock'
        using errcode = 'integrity_constraint_violation', constraint = 'events_recorded_by_now', table = 'events';
    end if;
    update book_head set position = tail.last, recorded_at = tail.latest where position = head.position;
end
$$;

CREATE FUNCTION public.give_position() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO '$user', 'public', 'pg_temp'
    AS $$
declare
    head record;
begin
    -- It moves the head in its owner's name, so that it must not be anybody's trigger on a table of his own.
    if tg_relid <> 'events'::regclass then
        raise exception 'positions are given to events only' using errcode = 'insufficient_privilege';
    end if;
    select h.position, h.recorded_at into strict head from book_head h order by h.position desc limit 1 for update;
    new.position := head.position + 1;
    new.recorded_at := greatest(head.recorded_at, clock_timestamp());
    update book_head set position = new.position, recorded_at = new.recorded_at where position = head.position;
    return new;
end
$$;

CREATE FUNCTION public.guard_log_checkpoint() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO '$user', 'public', 'pg_temp'
    AS $$
begin
    if not exists (select from transparency_log where size >= new.size) then
        raise exception 'a checkpoint of % events covers more than the tree of the transparency log', new.size
        using errcode = 'restrict_violation';
    end if;
    -- The name of the log, the size, the root.
    if split_part(new.note, E'\n', 2) <> new.size::text then
        raise exception 'the note is not that of a checkpoint of % events', new.size
        using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;

CREATE FUNCTION public.keep_transparency_log() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO '$user', 'public', 'pg_temp'
    AS $$
begin
    if new.size < old.size then
        raise exception 'the transparency log has % events, and never fewer', old.size
        using errcode = 'restrict_violation';
    end if;
    if new.size > old.size and new.size > (select max(position) from book_head) then
        raise exception 'the transparency log cannot have % events: the book has fewer', new.size
        using errcode = 'restrict_violation';
    end if;
    if new.size > old.size and coalesce(current_setting('daybook.log_entries', true), '') <> 'digests' then
        raise exception 'the transparency log is kept by a newer program, which knows the digests of large events'
        using errcode = 'restrict_violation';
    end if;
    if (old.origin is not null and new.origin is distinct from old.origin)
        or (old.vkey is not null and new.vkey is distinct from old.vkey)
    then
        raise exception 'the name and the key of the transparency log stay as they are'
        using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;

CREATE FUNCTION public.log_digests_after() RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN '0'::bigint;

CREATE FUNCTION public.refuse_access_log_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    raise exception 'the access log is never altered: % of % is refused', lower(tg_op), tg_table_name
    using errcode = 'restrict_violation';
end
$$;

CREATE FUNCTION public.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    raise exception 'the book is never altered: % of % is refused', lower(tg_op), tg_table_name
    using errcode = 'restrict_violation', hint = 'record a further event that corrects the earlier one';
end
$$;

CREATE TABLE public.access_log (
    at timestamp with time zone NOT NULL,
    id uuid NOT NULL,
    user_id text,
    customer_id text,
    kind text NOT NULL,
    address text,
    agent text,
    credential text,
    what text,
    entity text,
    reason text,
    CONSTRAINT a_line_is_short CHECK ((octet_length(concat(user_id, customer_id, kind, address, agent, credential, what, entity, reason)) <= 8192))
)
PARTITION BY RANGE (at);

CREATE TABLE public.account_days_v1 (
    account_id text NOT NULL,
    day date NOT NULL,
    amount numeric NOT NULL,
    entries bigint NOT NULL
)
WITH (fillfactor='80');

CREATE VIEW public.account_days AS
 SELECT account_days_v1.account_id,
    account_days_v1.day,
    account_days_v1.amount,
    account_days_v1.entries
   FROM public.account_days_v1;

CREATE TABLE public.account_statement_v1 (
    account_id text NOT NULL,
    entry bigint NOT NULL,
    "position" bigint NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    dated_at timestamp with time zone,
    recorded_at timestamp with time zone NOT NULL,
    origin text NOT NULL,
    origin_id text,
    transfer jsonb,
    description text NOT NULL,
    amount numeric NOT NULL,
    balance numeric NOT NULL,
    currency text NOT NULL,
    due_on date,
    reverses bigint,
    reversed_by bigint
);

CREATE VIEW public.account_statement AS
 SELECT account_statement_v1.account_id,
    account_statement_v1.entry,
    account_statement_v1."position",
    account_statement_v1.occurred_at,
    account_statement_v1.dated_at,
    account_statement_v1.recorded_at,
    account_statement_v1.origin,
    account_statement_v1.origin_id,
    account_statement_v1.transfer,
    account_statement_v1.description,
    account_statement_v1.amount,
    account_statement_v1.balance,
    account_statement_v1.currency,
    account_statement_v1.due_on,
    account_statement_v1.reverses,
    account_statement_v1.reversed_by
   FROM public.account_statement_v1;

CREATE TABLE public.accounts_v1 (
    id text NOT NULL,
    customer_id text NOT NULL,
    name text NOT NULL,
    currency text NOT NULL,
    time_zone text NOT NULL,
    balance numeric NOT NULL,
    held numeric NOT NULL,
    credit_limit numeric NOT NULL,
    post_paid boolean NOT NULL,
    automatic_allocation boolean NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    entries bigint NOT NULL,
    "position" bigint NOT NULL,
    changed_position bigint NOT NULL
)
WITH (fillfactor='80');

CREATE VIEW public.accounts AS
 SELECT accounts_v1.id,
    accounts_v1.customer_id,
    accounts_v1.name,
    accounts_v1.currency,
    accounts_v1.time_zone,
    accounts_v1.balance,
    accounts_v1.held,
    accounts_v1.credit_limit,
    accounts_v1.post_paid,
    accounts_v1.automatic_allocation,
    accounts_v1.opened_at,
    accounts_v1.entries,
    accounts_v1."position",
    accounts_v1.changed_position
   FROM public.accounts_v1;

CREATE TABLE public.aggregate_snapshots (
    aggregate_type text NOT NULL,
    aggregate_id text NOT NULL,
    sequence bigint NOT NULL,
    fold_version integer NOT NULL,
    state json NOT NULL
);
ALTER TABLE ONLY public.aggregate_snapshots ALTER COLUMN state SET COMPRESSION lz4;

CREATE TABLE public.api_keys (
    name text NOT NULL,
    key bytea NOT NULL
);

CREATE TABLE public.book_head (
    singleton boolean DEFAULT true NOT NULL,
    "position" bigint NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    CONSTRAINT book_head_has_one_row CHECK (singleton)
)
WITH (vacuum_truncate='false');

CREATE TABLE public.closed_periods_v1 (
    books_id text NOT NULL,
    "position" bigint NOT NULL,
    through date NOT NULL,
    time_zone text NOT NULL,
    open_from timestamp with time zone NOT NULL,
    actor text,
    reason text,
    closed_at timestamp with time zone NOT NULL,
    recorded_at timestamp with time zone NOT NULL
);

CREATE VIEW public.closed_periods AS
 SELECT closed_periods_v1.books_id,
    closed_periods_v1."position",
    closed_periods_v1.through,
    closed_periods_v1.time_zone,
    closed_periods_v1.open_from,
    closed_periods_v1.actor,
    closed_periods_v1.reason,
    closed_periods_v1.closed_at,
    closed_periods_v1.recorded_at
   FROM public.closed_periods_v1;

CREATE TABLE public.credit_note_lines_v1 (
    credit_note_id text NOT NULL,
    number integer NOT NULL,
    invoice_id text,
    invoice_line integer,
    free_standing boolean NOT NULL,
    item text NOT NULL,
    description text NOT NULL,
    quantity numeric NOT NULL,
    unit_price numeric NOT NULL,
    amount numeric NOT NULL,
    tax_rate numeric NOT NULL
);

CREATE VIEW public.credit_note_lines AS
 SELECT credit_note_lines_v1.credit_note_id,
    credit_note_lines_v1.number,
    credit_note_lines_v1.invoice_id,
    credit_note_lines_v1.invoice_line,
    credit_note_lines_v1.free_standing,
    credit_note_lines_v1.item,
    credit_note_lines_v1.description,
    credit_note_lines_v1.quantity,
    credit_note_lines_v1.unit_price,
    credit_note_lines_v1.amount,
    credit_note_lines_v1.tax_rate
   FROM public.credit_note_lines_v1;

CREATE TABLE public.credit_notes_v1 (
    id text NOT NULL,
    number text NOT NULL,
    account_id text NOT NULL,
    customer_id text NOT NULL,
    payer jsonb NOT NULL,
    issued_on date NOT NULL,
    currency text NOT NULL,
    net numeric NOT NULL,
    tax numeric NOT NULL,
    total numeric NOT NULL,
    residue numeric NOT NULL,
    rates jsonb NOT NULL,
    entry bigint NOT NULL,
    issued_at timestamp with time zone NOT NULL,
    "position" bigint NOT NULL
);

CREATE VIEW public.credit_notes AS
 SELECT credit_notes_v1.id,
    credit_notes_v1.number,
    credit_notes_v1.account_id,
    credit_notes_v1.customer_id,
    credit_notes_v1.payer,
    credit_notes_v1.issued_on,
    credit_notes_v1.currency,
    credit_notes_v1.net,
    credit_notes_v1.tax,
    credit_notes_v1.total,
    credit_notes_v1.residue,
    credit_notes_v1.rates,
    credit_notes_v1.entry,
    credit_notes_v1.issued_at,
    credit_notes_v1."position"
   FROM public.credit_notes_v1;

CREATE TABLE public.customer_groups_v1 (
    customer_id text NOT NULL,
    group_name text NOT NULL,
    joined_at timestamp with time zone NOT NULL
);

CREATE VIEW public.customer_groups AS
 SELECT customer_groups_v1.customer_id,
    customer_groups_v1.group_name,
    customer_groups_v1.joined_at
   FROM public.customer_groups_v1;

CREATE TABLE public.customers_v1 (
    id text NOT NULL,
    name text NOT NULL,
    email text,
    registered_at timestamp with time zone NOT NULL,
    "position" bigint NOT NULL,
    changed_position bigint NOT NULL
);

CREATE VIEW public.customers AS
 SELECT customers_v1.id,
    customers_v1.name,
    customers_v1.email,
    customers_v1.registered_at,
    customers_v1."position",
    customers_v1.changed_position
   FROM public.customers_v1;

CREATE TABLE public.cut_offs (
    id uuid NOT NULL,
    command_id uuid NOT NULL,
    user_id text NOT NULL,
    ended_by text,
    kept_session text,
    made_at timestamp with time zone NOT NULL
);

CREATE TABLE public.discounts_v1 (
    id text NOT NULL,
    audience text NOT NULL,
    audience_id text,
    name text NOT NULL,
    product text,
    kind text NOT NULL,
    value numeric NOT NULL,
    currency text,
    priority integer NOT NULL,
    valid_from timestamp with time zone,
    valid_until timestamp with time zone,
    granted_at timestamp with time zone NOT NULL,
    revoked_at timestamp with time zone,
    "position" bigint NOT NULL
);

CREATE VIEW public.discounts AS
 SELECT discounts_v1.id,
    discounts_v1.audience,
    discounts_v1.audience_id,
    discounts_v1.name,
    discounts_v1.product,
    discounts_v1.kind,
    discounts_v1.value,
    discounts_v1.currency,
    discounts_v1.priority,
    discounts_v1.valid_from,
    discounts_v1.valid_until,
    discounts_v1.granted_at,
    discounts_v1.revoked_at,
    discounts_v1."position"
   FROM public.discounts_v1;

CREATE TABLE public.disputes_v2 (
    id text NOT NULL,
    payment_id text NOT NULL,
    gateway_dispute text,
    amount numeric NOT NULL,
    currency text NOT NULL,
    status text NOT NULL,
    gateway_reason text NOT NULL,
    entry bigint NOT NULL,
    won_entry bigint,
    opened_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    "position" bigint NOT NULL,
    CONSTRAINT disputes_v2_status_check CHECK ((status = ANY (ARRAY['open'::text, 'won'::text, 'lost'::text])))
);

CREATE VIEW public.disputes AS
 SELECT disputes_v2.id,
    disputes_v2.payment_id,
    disputes_v2.gateway_dispute,
    disputes_v2.amount,
    disputes_v2.currency,
    disputes_v2.status,
    disputes_v2.gateway_reason,
    disputes_v2.entry,
    disputes_v2.won_entry,
    disputes_v2.opened_at,
    disputes_v2.ended_at,
    disputes_v2."position"
   FROM public.disputes_v2;

CREATE TABLE public.drifts (
    projection text NOT NULL,
    build integer NOT NULL,
    table_name text NOT NULL,
    key jsonb NOT NULL,
    stored jsonb,
    expected jsonb,
    "position" bigint NOT NULL,
    found_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.events (
    aggregate_type text NOT NULL,
    aggregate_id text NOT NULL,
    sequence bigint NOT NULL,
    event_type text NOT NULL,
    event_version text NOT NULL,
    payload json NOT NULL,
    metadata json NOT NULL,
    "position" bigint NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    CONSTRAINT events_position_check CHECK (("position" > 0)),
    CONSTRAINT events_sequence_check CHECK ((sequence >= 0))
);

CREATE TABLE public.expense_coverage_v1 (
    expense_id text NOT NULL,
    funds bigint NOT NULL,
    origin text NOT NULL,
    origin_id text,
    amount numeric NOT NULL,
    currency text NOT NULL,
    changed_position bigint NOT NULL
);

CREATE VIEW public.expense_coverage AS
 SELECT expense_coverage_v1.expense_id,
    expense_coverage_v1.funds,
    expense_coverage_v1.origin,
    expense_coverage_v1.origin_id,
    expense_coverage_v1.amount,
    expense_coverage_v1.currency,
    expense_coverage_v1.changed_position
   FROM public.expense_coverage_v1;

CREATE TABLE public.expenses_v1 (
    id text NOT NULL,
    account_id text NOT NULL,
    order_id text,
    order_item integer,
    service_id text,
    description text NOT NULL,
    quantity numeric NOT NULL,
    tax_rate numeric NOT NULL,
    net numeric NOT NULL,
    tax numeric NOT NULL,
    total numeric NOT NULL,
    currency text NOT NULL,
    status text NOT NULL,
    entry bigint NOT NULL,
    covered numeric NOT NULL,
    uncovered numeric NOT NULL,
    charged_at timestamp with time zone NOT NULL,
    "position" bigint NOT NULL,
    changed_position bigint NOT NULL,
    CONSTRAINT expenses_v1_status_check CHECK ((status = ANY (ARRAY['recorded'::text, 'reversed'::text])))
)
WITH (fillfactor='80');

CREATE VIEW public.expenses AS
 SELECT expenses_v1.id,
    expenses_v1.account_id,
    expenses_v1.order_id,
    expenses_v1.order_item,
    expenses_v1.service_id,
    expenses_v1.description,
    expenses_v1.quantity,
    expenses_v1.tax_rate,
    expenses_v1.net,
    expenses_v1.tax,
    expenses_v1.total,
    expenses_v1.currency,
    expenses_v1.status,
    expenses_v1.entry,
    expenses_v1.covered,
    expenses_v1.uncovered,
    expenses_v1.charged_at,
    expenses_v1."position",
    expenses_v1.changed_position
   FROM public.expenses_v1;

CREATE TABLE public.factor_resets_v1 (
    user_id text NOT NULL,
    requested_by text,
    requested_at timestamp with time zone NOT NULL,
    completable_at timestamp with time zone NOT NULL,
    lapses_at timestamp with time zone NOT NULL,
    "position" bigint NOT NULL
);

CREATE VIEW public.factor_resets AS
 SELECT factor_resets_v1.user_id,
    factor_resets_v1.requested_by,
    factor_resets_v1.requested_at,
    factor_resets_v1.completable_at,
    factor_resets_v1.lapses_at,
    factor_resets_v1."position"
   FROM public.factor_resets_v1;

CREATE TABLE public.factor_secrets (
    id text NOT NULL,
    user_id text NOT NULL,
    kind text NOT NULL,
    key_id text,
    sealed bytea,
    last_step bigint,
    made_at timestamp with time zone NOT NULL,
    CONSTRAINT factor_secrets_kind_check CHECK ((kind = 'totp'::text)),
    CONSTRAINT totp_is_sealed CHECK (((kind <> 'totp'::text) OR ((key_id IS NOT NULL) AND (sealed IS NOT NULL))))
);

CREATE TABLE public.history_v2 (
    entity_id text NOT NULL,
    "position" bigint NOT NULL,
    occurred_at timestamp with time zone NOT NULL
);

CREATE VIEW public.history AS
 SELECT history_v2.entity_id,
    history_v2."position",
    history_v2.occurred_at
   FROM public.history_v2;

CREATE TABLE public.history_v1 (
    entity_id text NOT NULL,
    "position" bigint NOT NULL,
    event_type text NOT NULL,
    aggregate_type text NOT NULL,
    aggregate_id text NOT NULL,
    sequence bigint NOT NULL,
    actor text,
    on_behalf_of text,
    reason text,
    occurred_at timestamp with time zone NOT NULL,
    dated_at timestamp with time zone,
    recorded_at timestamp with time zone NOT NULL
);

CREATE TABLE public.idempotency (
    key uuid NOT NULL,
    fingerprint bytea NOT NULL,
    "position" bigint NOT NULL,
    answer json NOT NULL,
    recorded_at timestamp with time zone NOT NULL
);

CREATE TABLE public.invoice_lines_v1 (
    invoice_id text NOT NULL,
    number integer NOT NULL,
    item text NOT NULL,
    description text NOT NULL,
    quantity numeric NOT NULL,
    unit_price numeric NOT NULL,
    discount numeric NOT NULL,
    amount numeric NOT NULL,
    tax_rate numeric NOT NULL,
    credited_quantity numeric NOT NULL,
    credited_amount numeric NOT NULL
);

CREATE VIEW public.invoice_lines AS
 SELECT invoice_lines_v1.invoice_id,
    invoice_lines_v1.number,
    invoice_lines_v1.item,
    invoice_lines_v1.description,
    invoice_lines_v1.quantity,
    invoice_lines_v1.unit_price,
    invoice_lines_v1.discount,
    invoice_lines_v1.amount,
    invoice_lines_v1.tax_rate,
    invoice_lines_v1.credited_quantity,
    invoice_lines_v1.credited_amount
   FROM public.invoice_lines_v1;

CREATE TABLE public.invoices_v1 (
    id text NOT NULL,
    number text NOT NULL,
    account_id text NOT NULL,
    customer_id text NOT NULL,
    payer jsonb NOT NULL,
    issued_on date NOT NULL,
    due_on date NOT NULL,
    currency text NOT NULL,
    policy jsonb NOT NULL,
    discount jsonb,
    status text NOT NULL,
    net numeric NOT NULL,
    tax numeric NOT NULL,
    total numeric NOT NULL,
    residue numeric NOT NULL,
    rates jsonb NOT NULL,
    due numeric NOT NULL,
    credited_net numeric NOT NULL,
    credited_tax numeric NOT NULL,
    credited_total numeric NOT NULL,
    entry bigint NOT NULL,
    finalised_at timestamp with time zone NOT NULL,
    "position" bigint NOT NULL,
    changed_position bigint NOT NULL,
    CONSTRAINT invoices_v1_status_check CHECK ((status = ANY (ARRAY['issued'::text, 'part_paid'::text, 'paid'::text])))
)
WITH (fillfactor='80');

CREATE VIEW public.invoices AS
 SELECT invoices_v1.id,
    invoices_v1.number,
    invoices_v1.account_id,
    invoices_v1.customer_id,
    invoices_v1.payer,
    invoices_v1.issued_on,
    invoices_v1.due_on,
    invoices_v1.currency,
    invoices_v1.policy,
    invoices_v1.discount,
    invoices_v1.status,
    invoices_v1.net,
    invoices_v1.tax,
    invoices_v1.total,
    invoices_v1.residue,
    invoices_v1.rates,
    invoices_v1.due,
    invoices_v1.credited_net,
    invoices_v1.credited_tax,
    invoices_v1.credited_total,
    invoices_v1.entry,
    invoices_v1.finalised_at,
    invoices_v1."position",
    invoices_v1.changed_position
   FROM public.invoices_v1;

CREATE TABLE public.journal_lines_v1 (
    "position" bigint NOT NULL,
    leg integer NOT NULL,
    ledger_account text NOT NULL,
    account_id text,
    amount numeric NOT NULL,
    currency text NOT NULL,
    event_type text NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    dated_at timestamp with time zone,
    recorded_at timestamp with time zone NOT NULL
);

CREATE VIEW public.journal_lines AS
 SELECT journal_lines_v1."position",
    journal_lines_v1.leg,
    journal_lines_v1.ledger_account,
    journal_lines_v1.account_id,
    journal_lines_v1.amount,
    journal_lines_v1.currency,
    journal_lines_v1.event_type,
    journal_lines_v1.occurred_at,
    journal_lines_v1.dated_at,
    journal_lines_v1.recorded_at
   FROM public.journal_lines_v1;

CREATE TABLE public.log_checkpoints (
    size bigint NOT NULL,
    note text NOT NULL,
    signed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT log_checkpoints_size_check CHECK ((size > 0))
);

CREATE TABLE public.log_tiles (
    level smallint NOT NULL,
    n bigint NOT NULL,
    hashes bytea NOT NULL,
    CONSTRAINT log_tiles_hold_hashes CHECK ((((length(hashes) >= 32) AND (length(hashes) <= 8192)) AND ((length(hashes) % 32) = 0))),
    CONSTRAINT log_tiles_level_check CHECK (((level >= 0) AND (level <= 7))),
    CONSTRAINT log_tiles_n_check CHECK ((n >= 0))
);
ALTER TABLE ONLY public.log_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;

CREATE TABLE public.master_key (
    singleton boolean DEFAULT true NOT NULL,
    id text NOT NULL,
    used_from timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT master_key_has_one_row CHECK (singleton)
);

CREATE TABLE public.memberships_v1 (
    user_id text NOT NULL,
    party text NOT NULL,
    customer_id text,
    superuser boolean NOT NULL,
    functions jsonb NOT NULL,
    roles jsonb NOT NULL,
    given_at timestamp with time zone NOT NULL,
    "position" bigint NOT NULL
);

CREATE VIEW public.memberships AS
 SELECT memberships_v1.user_id,
    memberships_v1.party,
    memberships_v1.customer_id,
    memberships_v1.superuser,
    memberships_v1.functions,
    memberships_v1.roles,
    memberships_v1.given_at,
    memberships_v1."position"
   FROM public.memberships_v1;

CREATE TABLE public.one_time_links (
    user_id text NOT NULL,
    purpose text NOT NULL,
    hash bytea NOT NULL,
    about text,
    made_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone
);

CREATE TABLE public.operations (
    id text NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL,
    request jsonb NOT NULL,
    asked_by text NOT NULL,
    asked_at timestamp with time zone NOT NULL,
    begun_at timestamp with time zone,
    ended_at timestamp with time zone,
    status text NOT NULL,
    done bigint,
    total bigint,
    phase text,
    outcome jsonb,
    cancelled_by text,
    touched_at timestamp with time zone NOT NULL,
    CONSTRAINT an_end_has_its_moment CHECK (((status = ANY (ARRAY['done'::text, 'failed'::text, 'cancelled'::text])) = (ended_at IS NOT NULL))),
    CONSTRAINT operations_kind_check CHECK ((kind = ANY (ARRAY['rebuild'::text, 'verify'::text]))),
    CONSTRAINT operations_status_check CHECK ((status = ANY (ARRAY['waiting'::text, 'running'::text, 'done'::text, 'failed'::text, 'cancelled'::text])))
);

CREATE TABLE public.order_items_v1 (
    order_id text NOT NULL,
    number integer NOT NULL,
    product text NOT NULL,
    description text NOT NULL,
    quantity numeric NOT NULL,
    unit_price numeric NOT NULL,
    part_days integer,
    part_of integer,
    list numeric NOT NULL,
    discount_id text,
    discount_name text,
    saving numeric NOT NULL,
    net numeric NOT NULL,
    tax_rate numeric NOT NULL,
    tax numeric NOT NULL,
    total numeric NOT NULL,
    expense_id text,
    service_id text
);

CREATE VIEW public.order_items AS
 SELECT order_items_v1.order_id,
    order_items_v1.number,
    order_items_v1.product,
    order_items_v1.description,
    order_items_v1.quantity,
    order_items_v1.unit_price,
    order_items_v1.part_days,
    order_items_v1.part_of,
    order_items_v1.list,
    order_items_v1.discount_id,
    order_items_v1.discount_name,
    order_items_v1.saving,
    order_items_v1.net,
    order_items_v1.tax_rate,
    order_items_v1.tax,
    order_items_v1.total,
    order_items_v1.expense_id,
    order_items_v1.service_id
   FROM public.order_items_v1;

CREATE TABLE public.orders_v1 (
    id text NOT NULL,
    customer_id text NOT NULL,
    account_id text NOT NULL,
    currency text NOT NULL,
    description text NOT NULL,
    status text NOT NULL,
    payment_id text,
    placed_at timestamp with time zone NOT NULL,
    processed_at timestamp with time zone,
    "position" bigint NOT NULL,
    changed_position bigint NOT NULL,
    CONSTRAINT orders_v1_status_check CHECK ((status = ANY (ARRAY['open'::text, 'in_progress'::text, 'processed'::text, 'deleted'::text])))
)
WITH (fillfactor='80');

CREATE VIEW public.orders AS
 SELECT orders_v1.id,
    orders_v1.customer_id,
    orders_v1.account_id,
    orders_v1.currency,
    orders_v1.description,
    orders_v1.status,
    orders_v1.payment_id,
    orders_v1.placed_at,
    orders_v1.processed_at,
    orders_v1."position",
    orders_v1.changed_position
   FROM public.orders_v1;

CREATE TABLE public.parked_streams (
    projection text NOT NULL,
    aggregate_type text NOT NULL,
    aggregate_id text NOT NULL,
    from_position bigint NOT NULL,
    error text,
    reason text NOT NULL,
    parked_by text NOT NULL,
    parked_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    unparked_by text,
    unparked_at timestamp with time zone,
    CONSTRAINT parked_streams_reason_check CHECK ((reason <> ''::text))
);

CREATE TABLE public.password_secrets (
    id text NOT NULL,
    user_id text NOT NULL,
    hash text NOT NULL,
    made_at timestamp with time zone NOT NULL
);

CREATE TABLE public.payers_v1 (
    id text NOT NULL,
    customer_id text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    country text NOT NULL,
    postal_code text NOT NULL,
    city text NOT NULL,
    street text NOT NULL,
    tax_number text,
    active boolean NOT NULL,
    created_at timestamp with time zone NOT NULL,
    "position" bigint NOT NULL,
    changed_position bigint NOT NULL
);

CREATE VIEW public.payers AS
 SELECT payers_v1.id,
    payers_v1.customer_id,
    payers_v1.kind,
    payers_v1.name,
    payers_v1.country,
    payers_v1.postal_code,
    payers_v1.city,
    payers_v1.street,
    payers_v1.tax_number,
    payers_v1.active,
    payers_v1.created_at,
    payers_v1."position",
    payers_v1.changed_position
   FROM public.payers_v1;

CREATE TABLE public.payment_allocations_v2 (
    payment_id text NOT NULL,
    charge bigint NOT NULL,
    target text NOT NULL,
    target_id text,
    amount numeric NOT NULL,
    currency text NOT NULL,
    changed_position bigint NOT NULL
)
WITH (fillfactor='80');

CREATE VIEW public.payment_allocations AS
 SELECT payment_allocations_v2.payment_id,
    payment_allocations_v2.charge,
    payment_allocations_v2.target,
    payment_allocations_v2.target_id,
    payment_allocations_v2.amount,
    payment_allocations_v2.currency,
    payment_allocations_v2.changed_position
   FROM public.payment_allocations_v2;

CREATE TABLE public.payment_allocations_v1 (
    payment_id text NOT NULL,
    charge bigint NOT NULL,
    target text NOT NULL,
    target_id text,
    amount numeric NOT NULL,
    currency text NOT NULL,
    changed_position bigint NOT NULL
)
WITH (fillfactor='80');

CREATE TABLE public.payments_v2 (
    id text NOT NULL,
    account_id text NOT NULL,
    payer_id text,
    method text NOT NULL,
    amount numeric NOT NULL,
    currency text NOT NULL,
    purpose text NOT NULL,
    purpose_id text,
    status text NOT NULL,
    document_number text,
    gateway_reason text,
    gateway_payment text,
    entry bigint,
    allocated numeric NOT NULL,
    free numeric NOT NULL,
    returned numeric NOT NULL,
    started_at timestamp with time zone NOT NULL,
    credited_at timestamp with time zone,
    "position" bigint NOT NULL,
    changed_position bigint NOT NULL,
    received numeric NOT NULL,
    disputed numeric NOT NULL
)
WITH (fillfactor='80');

CREATE VIEW public.payments AS
 SELECT payments_v2.id,
    payments_v2.account_id,
    payments_v2.payer_id,
    payments_v2.method,
    payments_v2.amount,
    payments_v2.currency,
    payments_v2.purpose,
    payments_v2.purpose_id,
    payments_v2.status,
    payments_v2.document_number,
    payments_v2.gateway_reason,
    payments_v2.gateway_payment,
    payments_v2.entry,
    payments_v2.allocated,
    payments_v2.free,
    payments_v2.returned,
    payments_v2.started_at,
    payments_v2.credited_at,
    payments_v2."position",
    payments_v2.changed_position,
    payments_v2.received,
    payments_v2.disputed
   FROM public.payments_v2;

CREATE TABLE public.payments_v1 (
    id text NOT NULL,
    account_id text NOT NULL,
    payer_id text,
    method text NOT NULL,
    amount numeric NOT NULL,
    currency text NOT NULL,
    purpose text NOT NULL,
    purpose_id text,
    status text NOT NULL,
    document_number text,
    gateway_reason text,
    gateway_payment text,
    entry bigint,
    allocated numeric NOT NULL,
    free numeric NOT NULL,
    returned numeric NOT NULL,
    started_at timestamp with time zone NOT NULL,
    credited_at timestamp with time zone,
    "position" bigint NOT NULL,
    changed_position bigint NOT NULL
)
WITH (fillfactor='80');

CREATE TABLE public.person_keys (
    id text NOT NULL,
    person text NOT NULL,
    wrapped bytea,
    master_key text NOT NULL,
    made_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    erased_at timestamp with time zone,
    CONSTRAINT person_keys_erased CHECK (((wrapped IS NULL) = (erased_at IS NOT NULL)))
);

CREATE TABLE public.projections (
    name text NOT NULL,
    build integer NOT NULL,
    version integer NOT NULL,
    tables text[] NOT NULL,
    stage text NOT NULL,
    stage_since timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    "position" bigint DEFAULT 0 NOT NULL,
    status text DEFAULT 'running'::text NOT NULL,
    error text,
    error_position bigint,
    holder uuid,
    leased_until timestamp with time zone,
    phase text,
    begun_at timestamp with time zone,
    begun_position bigint,
    memory_bytes bigint,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT projections_build_check CHECK ((build > 0)),
    CONSTRAINT projections_phase_of_building CHECK (((stage = 'building'::text) OR (phase IS NULL))),
    CONSTRAINT projections_position_check CHECK (("position" >= 0)),
    CONSTRAINT projections_stage_check CHECK ((stage = ANY (ARRAY['building'::text, 'serving'::text, 'kept'::text]))),
    CONSTRAINT projections_status_check CHECK ((status = ANY (ARRAY['running'::text, 'paused'::text, 'stopped'::text]))),
    CONSTRAINT projections_stopped_with_reason CHECK (((status = 'stopped'::text) = ((error IS NOT NULL) AND (error_position IS NOT NULL))))
)
WITH (fillfactor='50');

CREATE TABLE public.recovery_codes (
    set_id text NOT NULL,
    hash bytea NOT NULL,
    user_id text NOT NULL,
    made_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone
);

CREATE TABLE public.refunds_v2 (
    id text NOT NULL,
    payment_id text NOT NULL,
    amount numeric NOT NULL,
    currency text NOT NULL,
    status text NOT NULL,
    gateway_reason text,
    entry bigint NOT NULL,
    started_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    "position" bigint NOT NULL,
    gateway_refund text,
    CONSTRAINT refunds_v2_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'settled'::text, 'failed'::text])))
);

CREATE VIEW public.refunds AS
 SELECT refunds_v2.id,
    refunds_v2.payment_id,
    refunds_v2.amount,
    refunds_v2.currency,
    refunds_v2.status,
    refunds_v2.gateway_reason,
    refunds_v2.entry,
    refunds_v2.started_at,
    refunds_v2.ended_at,
    refunds_v2."position",
    refunds_v2.gateway_refund
   FROM public.refunds_v2;

CREATE TABLE public.refunds_v1 (
    id text NOT NULL,
    payment_id text NOT NULL,
    amount numeric NOT NULL,
    currency text NOT NULL,
    status text NOT NULL,
    gateway_reason text,
    entry bigint NOT NULL,
    started_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    "position" bigint NOT NULL,
    CONSTRAINT refunds_v1_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'settled'::text, 'failed'::text])))
);

CREATE TABLE public.services_v1 (
    id text NOT NULL,
    customer_id text NOT NULL,
    account_id text NOT NULL,
    order_id text NOT NULL,
    product text NOT NULL,
    description text NOT NULL,
    status text NOT NULL,
    activated_at timestamp with time zone NOT NULL,
    "position" bigint NOT NULL
);

CREATE VIEW public.services AS
 SELECT services_v1.id,
    services_v1.customer_id,
    services_v1.account_id,
    services_v1.order_id,
    services_v1.product,
    services_v1.description,
    services_v1.status,
    services_v1.activated_at,
    services_v1."position"
   FROM public.services_v1;

CREATE TABLE public.sessions (
    id text NOT NULL,
    secret_hash bytea NOT NULL,
    user_id text NOT NULL,
    membership text,
    level text NOT NULL,
    began_at timestamp with time zone NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    stepped_up_until timestamp with time zone,
    address text NOT NULL,
    agent text,
    ended_at timestamp with time zone,
    ended_by text,
    CONSTRAINT an_end_has_its_reason CHECK (((ended_at IS NULL) = (ended_by IS NULL))),
    CONSTRAINT sessions_level_check CHECK ((level = ANY (ARRAY['password'::text, 'second_factor'::text])))
);

CREATE TABLE public.sign_in_failures (
    subject bytea NOT NULL,
    failures integer NOT NULL,
    free integer NOT NULL,
    failed_at timestamp with time zone NOT NULL,
    held_until timestamp with time zone NOT NULL
);

CREATE TABLE public.sign_in_origins (
    account bytea NOT NULL,
    network text NOT NULL,
    signed_in_at timestamp with time zone NOT NULL
);

CREATE TABLE public.sign_in_refusals (
    minute timestamp with time zone NOT NULL,
    network text NOT NULL,
    refused bigint NOT NULL
);

CREATE TABLE public.sign_up_counts (
    hour timestamp with time zone NOT NULL,
    network text NOT NULL,
    tried integer NOT NULL,
    taken integer NOT NULL
);

CREATE TABLE public.sign_ups (
    id text NOT NULL,
    login_name text NOT NULL,
    mail text NOT NULL,
    name text NOT NULL,
    password_hash text NOT NULL,
    terms_dated date NOT NULL,
    terms_hash text NOT NULL,
    network text NOT NULL,
    made_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL
);

CREATE TABLE public.ticket_messages_v1 (
    ticket_id text NOT NULL,
    "position" bigint NOT NULL,
    side text NOT NULL,
    actor text,
    message text NOT NULL,
    written_at timestamp with time zone NOT NULL
);

CREATE VIEW public.ticket_messages AS
 SELECT ticket_messages_v1.ticket_id,
    ticket_messages_v1."position",
    ticket_messages_v1.side,
    ticket_messages_v1.actor,
    ticket_messages_v1.message,
    ticket_messages_v1.written_at
   FROM public.ticket_messages_v1;

CREATE TABLE public.tickets_v1 (
    id text NOT NULL,
    customer_id text NOT NULL,
    category text NOT NULL,
    subject text NOT NULL,
    about text,
    about_id text,
    status text NOT NULL,
    archived boolean NOT NULL,
    messages integer NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    last_message_at timestamp with time zone NOT NULL,
    archived_at timestamp with time zone,
    "position" bigint NOT NULL,
    changed_position bigint NOT NULL,
    CONSTRAINT tickets_v1_status_check CHECK ((status = ANY (ARRAY['open'::text, 'in_progress'::text, 'answered'::text, 'read'::text, 'archived'::text])))
)
WITH (fillfactor='80');

CREATE VIEW public.tickets AS
 SELECT tickets_v1.id,
    tickets_v1.customer_id,
    tickets_v1.category,
    tickets_v1.subject,
    tickets_v1.about,
    tickets_v1.about_id,
    tickets_v1.status,
    tickets_v1.archived,
    tickets_v1.messages,
    tickets_v1.opened_at,
    tickets_v1.last_message_at,
    tickets_v1.archived_at,
    tickets_v1."position",
    tickets_v1.changed_position
   FROM public.tickets_v1;

CREATE TABLE public.token_secrets (
    id text NOT NULL,
    user_id text NOT NULL,
    hash bytea NOT NULL,
    made_at timestamp with time zone NOT NULL,
    last_used_at timestamp with time zone,
    last_used_from text
);

CREATE TABLE public.transparency_log (
    singleton boolean DEFAULT true NOT NULL,
    origin text,
    vkey text,
    size bigint DEFAULT 0 NOT NULL,
    CONSTRAINT transparency_log_has_one_row CHECK (singleton),
    CONSTRAINT transparency_log_key_has_name CHECK (((vkey IS NULL) OR (origin IS NOT NULL))),
    CONSTRAINT transparency_log_size_check CHECK ((size >= 0))
)
WITH (fillfactor='10');

CREATE TABLE public.trial_balance_v1 (
    ledger_account text NOT NULL,
    currency text NOT NULL,
    debit numeric NOT NULL,
    credit numeric NOT NULL,
    balance numeric NOT NULL
)
WITH (fillfactor='80');

CREATE VIEW public.trial_balance AS
 SELECT trial_balance_v1.ledger_account,
    trial_balance_v1.currency,
    trial_balance_v1.debit,
    trial_balance_v1.credit,
    trial_balance_v1.balance
   FROM public.trial_balance_v1;

CREATE TABLE public.upgrades (
    name text NOT NULL,
    "position" bigint NOT NULL,
    done_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE public.user_contacts_v1 (
    user_id text NOT NULL,
    number integer NOT NULL,
    kind text NOT NULL,
    value text NOT NULL,
    added_at timestamp with time zone NOT NULL
);

CREATE VIEW public.user_contacts AS
 SELECT user_contacts_v1.user_id,
    user_contacts_v1.number,
    user_contacts_v1.kind,
    user_contacts_v1.value,
    user_contacts_v1.added_at
   FROM public.user_contacts_v1;

CREATE TABLE public.user_factors_v1 (
    user_id text NOT NULL,
    id text NOT NULL,
    kind text NOT NULL,
    added_at timestamp with time zone NOT NULL
);

CREATE VIEW public.user_factors AS
 SELECT user_factors_v1.user_id,
    user_factors_v1.id,
    user_factors_v1.kind,
    user_factors_v1.added_at
   FROM public.user_factors_v1;

CREATE TABLE public.user_tokens_v1 (
    id text NOT NULL,
    user_id text NOT NULL,
    party text NOT NULL,
    customer_id text,
    name text NOT NULL,
    functions jsonb,
    made_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    "position" bigint NOT NULL,
    changed_position bigint NOT NULL
);

CREATE VIEW public.user_tokens AS
 SELECT user_tokens_v1.id,
    user_tokens_v1.user_id,
    user_tokens_v1.party,
    user_tokens_v1.customer_id,
    user_tokens_v1.name,
    user_tokens_v1.functions,
    user_tokens_v1.made_at,
    user_tokens_v1.expires_at,
    user_tokens_v1.revoked_at,
    user_tokens_v1."position",
    user_tokens_v1.changed_position
   FROM public.user_tokens_v1;

CREATE TABLE public.users_v1 (
    id text NOT NULL,
    login text NOT NULL,
    login_name text NOT NULL,
    name text NOT NULL,
    enabled boolean NOT NULL,
    address jsonb,
    password_id text,
    recovery_codes_id text,
    invited_at timestamp with time zone NOT NULL,
    "position" bigint NOT NULL,
    changed_position bigint NOT NULL
);

CREATE VIEW public.users AS
 SELECT users_v1.id,
    users_v1.login,
    users_v1.login_name,
    users_v1.name,
    users_v1.enabled,
    users_v1.address,
    users_v1.password_id,
    users_v1.recovery_codes_id,
    users_v1.invited_at,
    users_v1."position",
    users_v1.changed_position
   FROM public.users_v1;

ALTER TABLE ONLY public.access_log
    ADD CONSTRAINT access_log_pkey PRIMARY KEY (at, id);

ALTER TABLE ONLY public.account_days_v1
    ADD CONSTRAINT account_days_v1_pkey PRIMARY KEY (account_id, day);

ALTER TABLE ONLY public.account_statement_v1
    ADD CONSTRAINT account_statement_v1_pkey PRIMARY KEY (account_id, entry);

ALTER TABLE ONLY public.accounts_v1
    ADD CONSTRAINT accounts_v1_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.aggregate_snapshots
    ADD CONSTRAINT aggregate_snapshots_pkey PRIMARY KEY (aggregate_type, aggregate_id);

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.book_head
    ADD CONSTRAINT book_head_pkey PRIMARY KEY ("position");

ALTER TABLE ONLY public.closed_periods_v1
    ADD CONSTRAINT closed_periods_v1_pkey PRIMARY KEY (books_id, "position");

ALTER TABLE ONLY public.credit_note_lines_v1
    ADD CONSTRAINT credit_note_lines_v1_pkey PRIMARY KEY (credit_note_id, number);

ALTER TABLE ONLY public.credit_notes_v1
    ADD CONSTRAINT credit_notes_v1_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.customer_groups_v1
    ADD CONSTRAINT customer_groups_v1_pkey PRIMARY KEY (customer_id, group_name);

ALTER TABLE ONLY public.customers_v1
    ADD CONSTRAINT customers_v1_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.cut_offs
    ADD CONSTRAINT cut_offs_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.discounts_v1
    ADD CONSTRAINT discounts_v1_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.disputes_v2
    ADD CONSTRAINT disputes_v2_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.drifts
    ADD CONSTRAINT drifts_pkey PRIMARY KEY (projection, build, table_name, key);

ALTER TABLE public.events
    ADD CONSTRAINT events_contain_no_nul CHECK (((COALESCE(current_setting('daybook.events_are_checked'::text, true), ''::text) = 'yes'::text) OR (((strpos((payload)::text, '\u0000'::text) = 0) OR ((payload)::text !~ '(^|[^\\])(\\\\)*\\u0000'::text)) AND ((strpos((metadata)::text, '\u0000'::text) = 0) OR ((metadata)::text !~ '(^|[^\\])(\\\\)*\\u0000'::text))))) NOT VALID;

ALTER TABLE public.events
    ADD CONSTRAINT events_dated_at_representable CHECK (((COALESCE(current_setting('daybook.events_are_checked'::text, true), ''::text) = 'yes'::text) OR ((strpos((metadata)::text, 'dated_at'::text) = 0) AND (strpos((metadata)::text, '\u'::text) = 0)) OR
CASE
    WHEN ((metadata ->> 'dated_at'::text) !~ '^\d{4}-\d\d-\d\d[Tt]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)$'::text) THEN false
    ELSE ((((metadata ->> 'dated_at'::text))::timestamp with time zone >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (((metadata ->> 'dated_at'::text))::timestamp with time zone <= '9999-12-31 23:59:59.999999+00'::timestamp with time zone))
END)) NOT VALID;

ALTER TABLE public.events
    ADD CONSTRAINT events_occurred_at_representable CHECK (((COALESCE(current_setting('daybook.events_are_checked'::text, true), ''::text) = 'yes'::text) OR
CASE
    WHEN ((metadata ->> 'occurred_at'::text) !~ '^\d{4}-\d\d-\d\d[Tt]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)$'::text) THEN false
    ELSE ((((metadata ->> 'occurred_at'::text))::timestamp with time zone >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (((metadata ->> 'occurred_at'::text))::timestamp with time zone <= '9999-12-31 23:59:59.999999+00'::timestamp with time zone))
END)) NOT VALID;

ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (aggregate_type, aggregate_id, sequence);

ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_position_key UNIQUE ("position");

ALTER TABLE public.events
    ADD CONSTRAINT events_recorded_at_representable CHECK (((recorded_at >= '0001-01-01 00:00:00+00'::timestamp with time zone) AND (recorded_at <= '9999-12-31 23:59:59.999999+00'::timestamp with time zone))) NOT VALID;

ALTER TABLE ONLY public.expense_coverage_v1
    ADD CONSTRAINT expense_coverage_v1_pkey PRIMARY KEY (expense_id, funds);

ALTER TABLE ONLY public.expenses_v1
    ADD CONSTRAINT expenses_v1_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.factor_resets_v1
    ADD CONSTRAINT factor_resets_v1_pkey PRIMARY KEY (user_id);

ALTER TABLE ONLY public.factor_secrets
    ADD CONSTRAINT factor_secrets_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.history_v1
    ADD CONSTRAINT history_v1_pkey PRIMARY KEY (entity_id, "position");

ALTER TABLE ONLY public.history_v2
    ADD CONSTRAINT history_v2_pkey PRIMARY KEY (entity_id, "position");

ALTER TABLE ONLY public.idempotency
    ADD CONSTRAINT idempotency_pkey PRIMARY KEY (key);

ALTER TABLE ONLY public.invoice_lines_v1
    ADD CONSTRAINT invoice_lines_v1_pkey PRIMARY KEY (invoice_id, number);

ALTER TABLE ONLY public.invoices_v1
    ADD CONSTRAINT invoices_v1_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.journal_lines_v1
    ADD CONSTRAINT journal_lines_v1_pkey PRIMARY KEY ("position", leg);

ALTER TABLE ONLY public.log_checkpoints
    ADD CONSTRAINT log_checkpoints_pkey PRIMARY KEY (size);

ALTER TABLE ONLY public.log_tiles
    ADD CONSTRAINT log_tiles_pkey PRIMARY KEY (level, n);

ALTER TABLE ONLY public.master_key
    ADD CONSTRAINT master_key_pkey PRIMARY KEY (singleton);

ALTER TABLE ONLY public.memberships_v1
    ADD CONSTRAINT memberships_v1_pkey PRIMARY KEY (user_id, party);

ALTER TABLE ONLY public.one_time_links
    ADD CONSTRAINT one_time_links_hash_key UNIQUE (hash);

ALTER TABLE ONLY public.one_time_links
    ADD CONSTRAINT one_time_links_pkey PRIMARY KEY (user_id, purpose);

ALTER TABLE ONLY public.operations
    ADD CONSTRAINT operations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.order_items_v1
    ADD CONSTRAINT order_items_v1_pkey PRIMARY KEY (order_id, number);

ALTER TABLE ONLY public.orders_v1
    ADD CONSTRAINT orders_v1_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.parked_streams
    ADD CONSTRAINT parked_streams_pkey PRIMARY KEY (projection, from_position, parked_at);

ALTER TABLE ONLY public.password_secrets
    ADD CONSTRAINT password_secrets_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.payers_v1
    ADD CONSTRAINT payers_v1_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.payment_allocations_v1
    ADD CONSTRAINT payment_allocations_v1_pkey PRIMARY KEY (payment_id, charge);

ALTER TABLE ONLY public.payment_allocations_v2
    ADD CONSTRAINT payment_allocations_v2_pkey PRIMARY KEY (payment_id, charge);

ALTER TABLE ONLY public.payments_v1
    ADD CONSTRAINT payments_v1_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.payments_v2
    ADD CONSTRAINT payments_v2_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.person_keys
    ADD CONSTRAINT person_keys_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.projections
    ADD CONSTRAINT projections_pkey PRIMARY KEY (name, build);

ALTER TABLE ONLY public.projections
    ADD CONSTRAINT projections_stage_key UNIQUE (name, stage) DEFERRABLE;

ALTER TABLE ONLY public.recovery_codes
    ADD CONSTRAINT recovery_codes_pkey PRIMARY KEY (set_id, hash);

ALTER TABLE ONLY public.refunds_v1
    ADD CONSTRAINT refunds_v1_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.refunds_v2
    ADD CONSTRAINT refunds_v2_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.services_v1
    ADD CONSTRAINT services_v1_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_secret_hash_key UNIQUE (secret_hash);

ALTER TABLE ONLY public.sign_in_failures
    ADD CONSTRAINT sign_in_failures_pkey PRIMARY KEY (subject);

ALTER TABLE ONLY public.sign_in_origins
    ADD CONSTRAINT sign_in_origins_pkey PRIMARY KEY (account, network);

ALTER TABLE ONLY public.sign_in_refusals
    ADD CONSTRAINT sign_in_refusals_pkey PRIMARY KEY (minute, network);

ALTER TABLE ONLY public.sign_up_counts
    ADD CONSTRAINT sign_up_counts_pkey PRIMARY KEY (hour, network);

ALTER TABLE ONLY public.sign_ups
    ADD CONSTRAINT sign_ups_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.ticket_messages_v1
    ADD CONSTRAINT ticket_messages_v1_pkey PRIMARY KEY (ticket_id, "position");

ALTER TABLE ONLY public.tickets_v1
    ADD CONSTRAINT tickets_v1_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.token_secrets
    ADD CONSTRAINT token_secrets_hash_key UNIQUE (hash);

ALTER TABLE ONLY public.token_secrets
    ADD CONSTRAINT token_secrets_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.transparency_log
    ADD CONSTRAINT transparency_log_pkey PRIMARY KEY (singleton);

ALTER TABLE ONLY public.trial_balance_v1
    ADD CONSTRAINT trial_balance_v1_pkey PRIMARY KEY (ledger_account, currency);

ALTER TABLE ONLY public.upgrades
    ADD CONSTRAINT upgrades_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.user_contacts_v1
    ADD CONSTRAINT user_contacts_v1_pkey PRIMARY KEY (user_id, number);

ALTER TABLE ONLY public.user_factors_v1
    ADD CONSTRAINT user_factors_v1_pkey PRIMARY KEY (user_id, id);

ALTER TABLE ONLY public.user_tokens_v1
    ADD CONSTRAINT user_tokens_v1_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.users_v1
    ADD CONSTRAINT users_v1_pkey PRIMARY KEY (id);

CREATE INDEX access_log_of_customer ON ONLY public.access_log USING btree (customer_id, at DESC, id DESC) WHERE (customer_id IS NOT NULL);

CREATE INDEX access_log_of_user ON ONLY public.access_log USING btree (user_id, at DESC, id DESC) WHERE (user_id IS NOT NULL);

CREATE INDEX account_statement_v1_account_id_occurred_at_position_amount_idx ON public.account_statement_v1 USING btree (account_id, occurred_at, "position") INCLUDE (amount);

CREATE INDEX account_statement_v1_account_id_reverses_idx ON public.account_statement_v1 USING btree (account_id, reverses) WHERE (reverses IS NOT NULL);

CREATE INDEX accounts_v1_customer_id_position_idx ON public.accounts_v1 USING btree (customer_id, "position");

CREATE INDEX accounts_v1_position_idx ON public.accounts_v1 USING btree ("position");

CREATE INDEX closed_periods_v1_open_from_idx ON public.closed_periods_v1 USING btree (open_from);

CREATE INDEX credit_note_lines_v1_invoice_id_idx ON public.credit_note_lines_v1 USING btree (invoice_id) WHERE (invoice_id IS NOT NULL);

CREATE INDEX credit_notes_v1_account_id_position_idx ON public.credit_notes_v1 USING btree (account_id, "position");

CREATE INDEX credit_notes_v1_customer_id_position_idx ON public.credit_notes_v1 USING btree (customer_id, "position");

CREATE INDEX credit_notes_v1_number_idx ON public.credit_notes_v1 USING btree (number);

CREATE INDEX credit_notes_v1_position_idx ON public.credit_notes_v1 USING btree ("position");

CREATE INDEX customer_groups_v1_group_name_idx ON public.customer_groups_v1 USING btree (group_name);

CREATE INDEX customers_v1_email_idx ON public.customers_v1 USING btree (email) WHERE (email IS NOT NULL);

CREATE INDEX customers_v1_position_idx ON public.customers_v1 USING btree ("position");

CREATE INDEX discounts_v1_audience_audience_id_position_idx ON public.discounts_v1 USING btree (audience, audience_id, "position");

CREATE INDEX discounts_v1_position_idx ON public.discounts_v1 USING btree ("position");

CREATE INDEX disputes_v2_payment_id_position_idx ON public.disputes_v2 USING btree (payment_id, "position");

CREATE INDEX expenses_v1_account_id_position_idx ON public.expenses_v1 USING btree (account_id, "position");

CREATE INDEX expenses_v1_order_id_idx ON public.expenses_v1 USING btree (order_id) WHERE (order_id IS NOT NULL);

CREATE INDEX expenses_v1_position_idx ON public.expenses_v1 USING btree ("position");

CREATE INDEX expenses_v1_service_id_idx ON public.expenses_v1 USING btree (service_id) WHERE (service_id IS NOT NULL);

CREATE INDEX invoices_v1_account_id_position_idx ON public.invoices_v1 USING btree (account_id, "position");

CREATE INDEX invoices_v1_customer_id_issued_on_position_idx ON public.invoices_v1 USING btree (customer_id, issued_on, "position");

CREATE INDEX invoices_v1_customer_id_position_idx ON public.invoices_v1 USING btree (customer_id, "position");

CREATE INDEX invoices_v1_number_idx ON public.invoices_v1 USING btree (number);

CREATE INDEX invoices_v1_position_idx ON public.invoices_v1 USING btree ("position");

CREATE INDEX journal_lines_v1_account_id_position_idx1 ON public.journal_lines_v1 USING btree (account_id, "position") WHERE ((leg = 1) AND (account_id IS NOT NULL));

CREATE INDEX journal_lines_v1_ledger_account_currency_position_leg_idx ON public.journal_lines_v1 USING btree (ledger_account, currency, "position", leg);

CREATE INDEX memberships_v1_customer_id_idx ON public.memberships_v1 USING btree (customer_id);

CREATE INDEX operations_in_order ON public.operations USING btree (asked_at DESC, id DESC);

CREATE INDEX orders_v1_account_id_position_idx ON public.orders_v1 USING btree (account_id, "position");

CREATE INDEX orders_v1_customer_id_position_idx ON public.orders_v1 USING btree (customer_id, "position");

CREATE INDEX orders_v1_position_idx ON public.orders_v1 USING btree ("position");

CREATE UNIQUE INDEX parked_streams_now_key ON public.parked_streams USING btree (projection, aggregate_type, aggregate_id) WHERE (unparked_at IS NULL);

CREATE INDEX payers_v1_customer_id_position_idx ON public.payers_v1 USING btree (customer_id, "position");

CREATE INDEX payers_v1_position_idx ON public.payers_v1 USING btree ("position");

CREATE INDEX payment_allocations_v1_target_id_idx ON public.payment_allocations_v1 USING btree (target_id) WHERE (target_id IS NOT NULL);

CREATE INDEX payment_allocations_v2_target_id_idx ON public.payment_allocations_v2 USING btree (target_id) WHERE (target_id IS NOT NULL);

CREATE INDEX payments_v1_account_id_position_idx ON public.payments_v1 USING btree (account_id, "position");

CREATE INDEX payments_v1_position_idx ON public.payments_v1 USING btree ("position");

CREATE INDEX payments_v1_purpose_id_idx ON public.payments_v1 USING btree (purpose_id) WHERE (purpose_id IS NOT NULL);

CREATE INDEX payments_v2_account_id_position_idx ON public.payments_v2 USING btree (account_id, "position");

CREATE INDEX payments_v2_position_idx ON public.payments_v2 USING btree ("position");

CREATE INDEX payments_v2_purpose_id_idx ON public.payments_v2 USING btree (purpose_id) WHERE (purpose_id IS NOT NULL);

CREATE UNIQUE INDEX person_keys_person ON public.person_keys USING btree (person) WHERE (erased_at IS NULL);

CREATE INDEX refunds_v1_payment_id_position_idx ON public.refunds_v1 USING btree (payment_id, "position");

CREATE INDEX refunds_v2_payment_id_position_idx ON public.refunds_v2 USING btree (payment_id, "position");

CREATE INDEX services_v1_account_id_position_idx ON public.services_v1 USING btree (account_id, "position");

CREATE INDEX services_v1_customer_id_position_idx ON public.services_v1 USING btree (customer_id, "position");

CREATE INDEX services_v1_order_id_idx ON public.services_v1 USING btree (order_id);

CREATE INDEX services_v1_position_idx ON public.services_v1 USING btree ("position");

CREATE INDEX sessions_of_user ON public.sessions USING btree (user_id) WHERE (ended_at IS NULL);

CREATE INDEX tickets_v1_about_id_idx ON public.tickets_v1 USING btree (about_id) WHERE (about_id IS NOT NULL);

CREATE INDEX tickets_v1_archived_position_idx ON public.tickets_v1 USING btree (archived, "position");

CREATE INDEX tickets_v1_customer_id_archived_position_idx ON public.tickets_v1 USING btree (customer_id, archived, "position");

CREATE INDEX tickets_v1_position_idx ON public.tickets_v1 USING btree ("position");

CREATE INDEX token_secrets_of_user ON public.token_secrets USING btree (user_id);

CREATE INDEX user_tokens_v1_user_id_idx ON public.user_tokens_v1 USING btree (user_id);

CREATE INDEX users_v1_login_name_idx ON public.users_v1 USING btree (login_name);

CREATE INDEX users_v1_position_idx ON public.users_v1 USING btree ("position");

CREATE TRIGGER advance_head AFTER INSERT ON public.events REFERENCING NEW TABLE AS appended FOR EACH STATEMENT EXECUTE FUNCTION public.advance_head();

CREATE TRIGGER give_position BEFORE INSERT ON public.events FOR EACH ROW WHEN ((new."position" IS NULL)) EXECUTE FUNCTION public.give_position();

CREATE TRIGGER guard_log_checkpoint BEFORE INSERT ON public.log_checkpoints FOR EACH ROW EXECUTE FUNCTION public.guard_log_checkpoint();

CREATE TRIGGER keep_transparency_log BEFORE UPDATE ON public.transparency_log FOR EACH ROW EXECUTE FUNCTION public.keep_transparency_log();

CREATE TRIGGER refuse_change BEFORE DELETE OR UPDATE ON public.access_log FOR EACH ROW EXECUTE FUNCTION public.refuse_access_log_change();

CREATE TRIGGER refuse_change BEFORE INSERT OR DELETE ON public.book_head FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER refuse_change BEFORE DELETE OR UPDATE ON public.events FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER refuse_change BEFORE DELETE OR UPDATE ON public.log_checkpoints FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER refuse_change BEFORE DELETE ON public.transparency_log FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.access_log FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_access_log_change();

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.book_head FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.events FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.log_checkpoints FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.transparency_log FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

GRANT USAGE ON SCHEMA public TO daybook_app;

GRANT USAGE ON SCHEMA public_own TO daybook_customer;

REVOKE ALL ON FUNCTION public.access_log_forget(moment timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.access_log_month(moment timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.access_log_month(moment timestamp with time zone) TO daybook_app;

GRANT SELECT,INSERT ON TABLE public.access_log TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.account_days_v1 TO daybook_app;

GRANT SELECT ON TABLE public.account_days TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.account_statement_v1 TO daybook_app;

GRANT SELECT ON TABLE public.account_statement TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.accounts_v1 TO daybook_app;

GRANT SELECT ON TABLE public.accounts TO daybook_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.aggregate_snapshots TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.api_keys TO daybook_app;

GRANT SELECT ON TABLE public.book_head TO daybook_app;

GRANT UPDATE(singleton) ON TABLE public.book_head TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.closed_periods_v1 TO daybook_app;

GRANT SELECT ON TABLE public.closed_periods TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.credit_note_lines_v1 TO daybook_app;

GRANT SELECT ON TABLE public.credit_note_lines TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.credit_notes_v1 TO daybook_app;

GRANT SELECT ON TABLE public.credit_notes TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.customer_groups_v1 TO daybook_app;

GRANT SELECT ON TABLE public.customer_groups TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.customers_v1 TO daybook_app;

GRANT SELECT ON TABLE public.customers TO daybook_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.cut_offs TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.discounts_v1 TO daybook_app;

GRANT SELECT ON TABLE public.discounts TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.disputes_v2 TO daybook_app;

GRANT SELECT ON TABLE public.disputes TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.drifts TO daybook_app;

GRANT SELECT,INSERT ON TABLE public.events TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.expense_coverage_v1 TO daybook_app;

GRANT SELECT ON TABLE public.expense_coverage TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.expenses_v1 TO daybook_app;

GRANT SELECT ON TABLE public.expenses TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.factor_resets_v1 TO daybook_app;

GRANT SELECT ON TABLE public.factor_resets TO daybook_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.factor_secrets TO daybook_app;

GRANT UPDATE(key_id) ON TABLE public.factor_secrets TO daybook_app;

GRANT UPDATE(sealed) ON TABLE public.factor_secrets TO daybook_app;

GRANT UPDATE(last_step) ON TABLE public.factor_secrets TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.history_v2 TO daybook_app;

GRANT SELECT ON TABLE public.history TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.history_v1 TO daybook_app;

GRANT SELECT,INSERT ON TABLE public.idempotency TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.invoice_lines_v1 TO daybook_app;

GRANT SELECT ON TABLE public.invoice_lines TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.invoices_v1 TO daybook_app;

GRANT SELECT ON TABLE public.invoices TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.journal_lines_v1 TO daybook_app;

GRANT SELECT ON TABLE public.journal_lines TO daybook_app;

GRANT SELECT,INSERT ON TABLE public.log_checkpoints TO daybook_app;

GRANT SELECT,INSERT ON TABLE public.log_tiles TO daybook_app;

GRANT UPDATE(hashes) ON TABLE public.log_tiles TO daybook_app;

GRANT SELECT,INSERT ON TABLE public.master_key TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.memberships_v1 TO daybook_app;

GRANT SELECT ON TABLE public.memberships TO daybook_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.one_time_links TO daybook_app;

GRANT UPDATE(hash) ON TABLE public.one_time_links TO daybook_app;

GRANT UPDATE(about) ON TABLE public.one_time_links TO daybook_app;

GRANT UPDATE(made_at) ON TABLE public.one_time_links TO daybook_app;

GRANT UPDATE(expires_at) ON TABLE public.one_time_links TO daybook_app;

GRANT UPDATE(used_at) ON TABLE public.one_time_links TO daybook_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.operations TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.order_items_v1 TO daybook_app;

GRANT SELECT ON TABLE public.order_items TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.orders_v1 TO daybook_app;

GRANT SELECT ON TABLE public.orders TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.parked_streams TO daybook_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.password_secrets TO daybook_app;

GRANT UPDATE(hash) ON TABLE public.password_secrets TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.payers_v1 TO daybook_app;

GRANT SELECT ON TABLE public.payers TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.payment_allocations_v2 TO daybook_app;

GRANT SELECT ON TABLE public.payment_allocations TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.payment_allocations_v1 TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.payments_v2 TO daybook_app;

GRANT SELECT ON TABLE public.payments TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.payments_v1 TO daybook_app;

GRANT SELECT ON TABLE public.person_keys TO daybook_app;

GRANT INSERT(id) ON TABLE public.person_keys TO daybook_app;

GRANT INSERT(person) ON TABLE public.person_keys TO daybook_app;

GRANT INSERT(wrapped) ON TABLE public.person_keys TO daybook_app;

GRANT INSERT(master_key) ON TABLE public.person_keys TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.projections TO daybook_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.recovery_codes TO daybook_app;

GRANT UPDATE(used_at) ON TABLE public.recovery_codes TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.refunds_v2 TO daybook_app;

GRANT SELECT ON TABLE public.refunds TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.refunds_v1 TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.services_v1 TO daybook_app;

GRANT SELECT ON TABLE public.services TO daybook_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.sessions TO daybook_app;

GRANT UPDATE(secret_hash) ON TABLE public.sessions TO daybook_app;

GRANT UPDATE(membership) ON TABLE public.sessions TO daybook_app;

GRANT UPDATE(level) ON TABLE public.sessions TO daybook_app;

GRANT UPDATE(seen_at) ON TABLE public.sessions TO daybook_app;

GRANT UPDATE(stepped_up_until) ON TABLE public.sessions TO daybook_app;

GRANT UPDATE(address) ON TABLE public.sessions TO daybook_app;

GRANT UPDATE(agent) ON TABLE public.sessions TO daybook_app;

GRANT UPDATE(ended_at) ON TABLE public.sessions TO daybook_app;

GRANT UPDATE(ended_by) ON TABLE public.sessions TO daybook_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.sign_in_failures TO daybook_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.sign_in_origins TO daybook_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.sign_in_refusals TO daybook_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.sign_up_counts TO daybook_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.sign_ups TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.ticket_messages_v1 TO daybook_app;

GRANT SELECT ON TABLE public.ticket_messages TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.tickets_v1 TO daybook_app;

GRANT SELECT ON TABLE public.tickets TO daybook_app;

GRANT SELECT,INSERT,DELETE ON TABLE public.token_secrets TO daybook_app;

GRANT UPDATE(last_used_at) ON TABLE public.token_secrets TO daybook_app;

GRANT UPDATE(last_used_from) ON TABLE public.token_secrets TO daybook_app;

GRANT SELECT ON TABLE public.transparency_log TO daybook_app;

GRANT UPDATE(origin) ON TABLE public.transparency_log TO daybook_app;

GRANT UPDATE(vkey) ON TABLE public.transparency_log TO daybook_app;

GRANT UPDATE(size) ON TABLE public.transparency_log TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.trial_balance_v1 TO daybook_app;

GRANT SELECT ON TABLE public.trial_balance TO daybook_app;

GRANT SELECT,INSERT ON TABLE public.upgrades TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.user_contacts_v1 TO daybook_app;

GRANT SELECT ON TABLE public.user_contacts TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.user_factors_v1 TO daybook_app;

GRANT SELECT ON TABLE public.user_factors TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.user_tokens_v1 TO daybook_app;

GRANT SELECT ON TABLE public.user_tokens TO daybook_app;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.users_v1 TO daybook_app;

GRANT SELECT ON TABLE public.users TO daybook_app;
