-- Drops what the way up has made, unless it holds rows. What was adopted stays.

DO $$
DECLARE
    made   record;
    filled boolean;
BEGIN
    FOR made IN
        SELECT format('%I.%I', nspname, relname) AS name, relkind = 'v' AS is_view
        FROM unnest(ARRAY[
            'campaign_summary', 'donor_statistics', 'transactions', 'donations', 'campaigns', 'users', 'organizations'
        ]) WITH ORDINALITY AS ours (relation, place)
            JOIN pg_class ON relname = relation
            JOIN pg_namespace ON pg_namespace.oid = relnamespace AND nspname = current_schema()
        WHERE obj_description(pg_class.oid, 'pg_class') = 'Made by kindledger migrate.'
        ORDER BY place
    LOOP
        IF made.is_view THEN
            EXECUTE format('DROP VIEW %s', made.name);
            CONTINUE;
        END IF;
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', made.name);
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', made.name) INTO filled;
        IF filled THEN
            RAISE EXCEPTION 'table % holds rows and is not dropped', made.name
                USING HINT = 'Empty it if its rows are not needed, or keep this migration.';
        END IF;
        EXECUTE format('DROP TABLE %s', made.name);
    END LOOP;
END
$$;
