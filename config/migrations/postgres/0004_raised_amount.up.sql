-- campaigns.raised_amount is the sum of the campaign's CONFIRMED donations, whatever statement changes them, and an
-- OPEN campaign that reaches its goal is COMPLETED, for good.
--
-- Each statement adds what it changed: reading the sum anew would lose what a concurrent transaction adds. Campaigns
-- are locked in the order of their ids before the first is updated, so that two statements over several campaigns do
-- not deadlock; and by a statement of its own, since an UPDATE with the older snapshot would go from old versions of
-- the rows to the locked ones, and deadlock on the way.

-- Donations stand still until the end of this migration.
LOCK TABLE donations, campaigns IN SHARE ROW EXCLUSIVE MODE;

-- The adopted schema's own triggers for the same purpose give way; the way down puts them back.
CREATE TABLE ledger_triggers_before (
    name       NAME PRIMARY KEY,
    definition TEXT NOT NULL,
    enabled    TEXT NOT NULL
);
COMMENT ON TABLE ledger_triggers_before IS 'Triggers that kindledger migrate replaced; enabled as in pg_trigger.';

INSERT INTO ledger_triggers_before
SELECT tgname, pg_get_triggerdef(pg_trigger.oid), tgenabled
FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid
WHERE tgrelid = 'donations'::regclass AND NOT tgisinternal AND prosrc ~* 'raised_amount';

DO $$
DECLARE
    replaced record;
BEGIN
    FOR replaced IN SELECT * FROM ledger_triggers_before LOOP
        EXECUTE format('DROP TRIGGER %I ON donations', replaced.name);
        RAISE NOTICE 'trigger % on donations is replaced; ledger_triggers_before keeps its definition', replaced.name;
    END LOOP;
END
$$;

-- Functions run with their owner's rights, since whoever settles a donation need not be allowed to touch campaigns. So
-- nobody else may attach them to a table of his own.
DO $do$
DECLARE
    operation text;
    tables    text;
    confirmed text;
    changes   text;
BEGIN
    FOR operation, tables, confirmed IN VALUES
        ('insert', 'NEW TABLE AS new_rows', $$
            SELECT campaign_id, amount FROM new_rows WHERE status = 'CONFIRMED'
        $$),
        ('update', 'OLD TABLE AS old_rows NEW TABLE AS new_rows', $$
            SELECT campaign_id, amount FROM new_rows WHERE status = 'CONFIRMED'
            UNION ALL
            SELECT campaign_id, -amount FROM old_rows WHERE status = 'CONFIRMED'
        $$),
        ('delete', 'OLD TABLE AS old_rows', $$
            SELECT campaign_id, -amount AS amount FROM old_rows WHERE status = 'CONFIRMED'
        $$)
    LOOP
        changes := format(
            'SELECT campaign_id, sum(amount) AS amount FROM (%s) AS confirmed '
                'GROUP BY campaign_id HAVING sum(amount) <> 0',
            confirmed
        );
        EXECUTE format($create$
            CREATE FUNCTION %1$I() RETURNS trigger
            LANGUAGE plpgsql SECURITY DEFINER
            SET search_path = pg_catalog, %2$I, pg_temp
            SET row_security = off
            AS $body$
            BEGIN
                PERFORM FROM campaigns
                WHERE id IN (SELECT campaign_id FROM (%3$s) AS changes)
                ORDER BY id
                FOR NO KEY UPDATE;

                UPDATE campaigns
                SET raised_amount = raised_amount + changes.amount,
                    status = CASE
                        WHEN status = 'OPEN' AND raised_amount + changes.amount >= goal_amount THEN 'COMPLETED'
                        ELSE status
                    END,
                    updated_at = now()
                FROM (%3$s) AS changes
                WHERE id = campaign_id;
                RETURN NULL;
            END
            $body$
        $create$, 'ledger_raised_amount_' || operation, current_schema(), changes);
        EXECUTE format('REVOKE ALL ON FUNCTION %I() FROM PUBLIC', 'ledger_raised_amount_' || operation);
        EXECUTE format(
            'CREATE TRIGGER %1$I AFTER %2$s ON donations REFERENCING %3$s FOR EACH STATEMENT EXECUTE FUNCTION %1$I()',
            'ledger_raised_amount_' || operation, operation, tables
        );
    END LOOP;
    EXECUTE format($create$
        CREATE FUNCTION ledger_raised_amount_truncate() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = pg_catalog, %I, pg_temp
        SET row_security = off
        AS $body$
        BEGIN
            PERFORM FROM campaigns WHERE raised_amount <> 0 ORDER BY id FOR NO KEY UPDATE;
            UPDATE campaigns SET raised_amount = 0, updated_at = now() WHERE raised_amount <> 0;
            RETURN NULL;
        END
        $body$
    $create$, current_schema());
END
$do$;

REVOKE ALL ON FUNCTION ledger_raised_amount_truncate() FROM PUBLIC;
CREATE TRIGGER ledger_raised_amount_truncate AFTER TRUNCATE ON donations
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_raised_amount_truncate();

-- What an adopted schema has counted wrong until now.
CREATE TABLE ledger_raised_amount_before AS
SELECT
    id AS campaign_id, raised_amount, status, coalesce(amount, 0) AS corrected_amount,
    CASE
        WHEN status = 'OPEN' AND coalesce(amount, 0) >= goal_amount THEN 'COMPLETED' ELSE status
    END AS corrected_status
FROM campaigns LEFT JOIN (
    SELECT campaign_id, sum(amount) AS amount FROM donations WHERE status = 'CONFIRMED' GROUP BY campaign_id
) AS confirmed ON campaign_id = id
WHERE raised_amount <> coalesce(amount, 0);
COMMENT ON TABLE ledger_raised_amount_before IS 'Campaigns that kindledger migrate corrected, as they were and became.';

DO $$
DECLARE
    corrected integer;
BEGIN
    UPDATE campaigns
    SET raised_amount = corrected_amount, status = corrected_status, updated_at = now()
    FROM ledger_raised_amount_before
    WHERE id = campaign_id;
    GET DIAGNOSTICS corrected = ROW_COUNT;
    IF corrected > 0 THEN
        RAISE NOTICE 'raised_amount of % campaigns was not the sum of their CONFIRMED donations and is corrected; '
            'ledger_raised_amount_before keeps what it was', corrected;
    END IF;
END
$$;
