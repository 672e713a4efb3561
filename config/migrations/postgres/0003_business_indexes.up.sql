-- migrate: no transaction
-- Indexes are built while the application works. An interrupted build leaves an invalid index, which IF NOT EXISTS
-- would keep: such ones go first. Blank lines separate the statements.
DO $$
DECLARE
    invalid regclass;
BEGIN
    SET LOCAL lock_timeout = '10s';
    FOR invalid IN
        SELECT indexrelid
        FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE NOT indisvalid AND nspname = current_schema() AND relname LIKE 'kindledger\_%'
    LOOP
        EXECUTE format('DROP INDEX %s', invalid);
    END LOOP;
END
$$;

CREATE INDEX CONCURRENTLY IF NOT EXISTS kindledger_users_organization ON users (organization_id);

CREATE INDEX CONCURRENTLY IF NOT EXISTS kindledger_campaigns_owner ON campaigns (owner_id);

CREATE INDEX CONCURRENTLY IF NOT EXISTS kindledger_campaigns_organization ON campaigns (organization_id);

CREATE INDEX CONCURRENTLY IF NOT EXISTS kindledger_campaigns_status_created ON campaigns (status, created_at DESC);

CREATE INDEX CONCURRENTLY IF NOT EXISTS kindledger_campaigns_dates ON campaigns (start_date, end_date);

CREATE INDEX CONCURRENTLY IF NOT EXISTS kindledger_campaigns_open ON campaigns (end_date) WHERE status = 'OPEN';

CREATE INDEX CONCURRENTLY IF NOT EXISTS kindledger_campaigns_hash ON campaigns (blockchain_tx_hash);

CREATE INDEX CONCURRENTLY IF NOT EXISTS kindledger_campaigns_metadata ON campaigns USING gin (metadata);

CREATE INDEX CONCURRENTLY IF NOT EXISTS kindledger_donations_campaign_status_amount
    ON donations (campaign_id, status, amount);

CREATE INDEX CONCURRENTLY IF NOT EXISTS kindledger_donations_donor ON donations (donor_id);

CREATE INDEX CONCURRENTLY IF NOT EXISTS kindledger_donations_status_donated ON donations (status, donated_at DESC);

CREATE INDEX CONCURRENTLY IF NOT EXISTS kindledger_donations_donated ON donations (donated_at DESC);

CREATE INDEX CONCURRENTLY IF NOT EXISTS kindledger_donations_confirmed
    ON donations (confirmed_at) WHERE status = 'CONFIRMED';

CREATE INDEX CONCURRENTLY IF NOT EXISTS kindledger_donations_hash ON donations (blockchain_tx_hash);

CREATE INDEX CONCURRENTLY IF NOT EXISTS kindledger_donations_pending ON donations (id) WHERE status = 'PENDING';

CREATE INDEX CONCURRENTLY IF NOT EXISTS kindledger_donations_metadata ON donations USING gin (metadata);

CREATE INDEX CONCURRENTLY IF NOT EXISTS kindledger_transactions_campaign_type_status
    ON transactions (campaign_id, transaction_type, status);

CREATE INDEX CONCURRENTLY IF NOT EXISTS kindledger_transactions_status_created
    ON transactions (status, created_at DESC);

CREATE INDEX CONCURRENTLY IF NOT EXISTS kindledger_transactions_created ON transactions (created_at DESC);

CREATE INDEX CONCURRENTLY IF NOT EXISTS kindledger_transactions_pending ON transactions (id) WHERE status = 'PENDING';

CREATE INDEX CONCURRENTLY IF NOT EXISTS kindledger_transactions_raw_data ON transactions USING gin (raw_data);

-- An adopted schema may have some of them under other names.
DO $$
DECLARE
    twin record;
BEGIN
    FOR twin IN
        SELECT ours.indexrelid::regclass AS ours, theirs.indexrelid::regclass AS theirs
        FROM pg_index AS ours
            JOIN pg_class ON pg_class.oid = ours.indexrelid AND relname LIKE 'kindledger\_%'
            JOIN pg_namespace ON pg_namespace.oid = relnamespace AND nspname = current_schema()
            JOIN pg_index AS theirs ON theirs.indrelid = ours.indrelid AND theirs.indexrelid <> ours.indexrelid
        WHERE (theirs.indkey, theirs.indclass, theirs.indoption)::text
                = (ours.indkey, ours.indclass, ours.indoption)::text
            AND pg_get_expr(theirs.indpred, theirs.indrelid)
                IS NOT DISTINCT FROM pg_get_expr(ours.indpred, ours.indrelid)
    LOOP
        RAISE NOTICE 'index % equals % of the adopted schema: one of them is enough', twin.ours, twin.theirs;
    END LOOP;
END
$$;
