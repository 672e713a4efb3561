-- Takes the rights away, and the roles where nothing else needs them.
DO $$
DECLARE
    policy record;
    role   text;
BEGIN
    FOR policy IN
        SELECT policyname, tablename FROM pg_policies
        WHERE schemaname = current_schema()
            AND policyname IN ('kindledger_reporter_reads', 'kindledger_indexer_reads', 'kindledger_indexer_settles')
    LOOP
        EXECUTE format('DROP POLICY %I ON %I', policy.policyname, policy.tablename);
    END LOOP;
    FOR role IN SELECT rolname FROM pg_roles WHERE rolname IN ('kindledger_indexer', 'kindledger_reporter') LOOP
        EXECUTE format(
            'REVOKE ALL ON organizations, users, campaigns, donations, transactions, campaign_summary, '
                'donor_statistics, ledger_cursor, ledger_discrepancies, ledger_triggers_before, '
                'ledger_raised_amount_before, kindledger_migrations FROM %I',
            role
        );
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', current_schema(), role);
        BEGIN
            EXECUTE format('DROP ROLE %I', role);
        EXCEPTION
            WHEN undefined_object THEN
                NULL;  -- another database has just dropped it
            WHEN dependent_objects_still_exist OR insufficient_privilege OR internal_error THEN
                -- internal_error: another session drops one of its members, or the same role, at this moment
                RAISE NOTICE 'role % stays: %', role, SQLERRM;
        END;
    END LOOP;
END
$$;
