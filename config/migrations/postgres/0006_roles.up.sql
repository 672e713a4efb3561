-- Two roles without login, for an administrator to grant to users: kindledger_indexer settles, kindledger_reporter
-- reads. Roles belong to the whole cluster: another database may make or drop the same ones at this moment. From the
-- first right on that a role has here, nobody can drop it.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['kindledger_indexer', 'kindledger_reporter'] LOOP
        LOOP
            BEGIN
                IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
                    EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
                END IF;
                EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), wanted);
                EXIT;
            EXCEPTION
                WHEN duplicate_object OR unique_violation OR undefined_object THEN
                    CONTINUE;
            END;
        END LOOP;
    END LOOP;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'role % is missing and % may not make it, or may not grant in this schema: %',
            wanted, current_user, SQLERRM
            USING HINT = 'Migrate as the owner of the schema, and let an administrator run once: '
                'CREATE ROLE kindledger_indexer; CREATE ROLE kindledger_reporter;';
END
$$;

GRANT SELECT (id, tx_hash, block_number, campaign_id, transaction_type, amount, status, created_at, confirmed_at),
    UPDATE (status, block_number, confirmed_at)
    ON transactions TO kindledger_indexer;
GRANT SELECT (id, campaign_id, donor_name, amount, status, donated_at, confirmed_at, blockchain_tx_hash, is_anonymous),
    UPDATE (status, confirmed_at)
    ON donations TO kindledger_indexer;
GRANT SELECT (id, name, status, raised_amount, goal_amount, blockchain_tx_hash, created_at, updated_at)
    ON campaigns TO kindledger_indexer;
GRANT SELECT, INSERT, UPDATE ON ledger_cursor, ledger_discrepancies TO kindledger_indexer;
GRANT SELECT ON kindledger_migrations TO kindledger_indexer;

GRANT SELECT
    ON organizations, campaigns, donations, transactions, campaign_summary, donor_statistics, ledger_cursor,
        ledger_discrepancies, ledger_triggers_before, ledger_raised_amount_before, kindledger_migrations
    TO kindledger_reporter;

-- Of users, the columns by name: an adopted table may have more, and not all of these.
DO $$
DECLARE
    readable text;
BEGIN
    SELECT string_agg(quote_ident(attname), ', ') INTO readable
    FROM pg_attribute
    WHERE attrelid = 'users'::regclass AND NOT attisdropped AND attname = ANY (ARRAY[
        'id', 'username', 'email', 'full_name', 'role', 'organization_id', 'msp_id', 'is_active', 'created_at',
        'updated_at', 'last_login'
    ]);
    EXECUTE format('GRANT SELECT (%s) ON users TO kindledger_reporter', readable);
END
$$;

-- Where row-level security is on, a right without a policy sees no row.
DO $$
DECLARE
    secured name;
BEGIN
    FOR secured IN
        SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname = current_schema() AND relrowsecurity
            AND relname IN ('organizations', 'users', 'campaigns', 'donations', 'transactions')
    LOOP
        EXECUTE format(
            'CREATE POLICY kindledger_reporter_reads ON %I FOR SELECT TO kindledger_reporter USING (true)', secured
        );
        IF secured IN ('campaigns', 'donations', 'transactions') THEN
            EXECUTE format(
                'CREATE POLICY kindledger_indexer_reads ON %I FOR SELECT TO kindledger_indexer USING (true)', secured
            );
        END IF;
        IF secured IN ('donations', 'transactions') THEN
            EXECUTE format(
                'CREATE POLICY kindledger_indexer_settles ON %I FOR UPDATE TO kindledger_indexer USING (true)', secured
            );
        END IF;
        RAISE NOTICE 'row-level security is on for %: policies let the roles of kindledger in', secured;
    END LOOP;
END
$$;
