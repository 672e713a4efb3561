-- migrate: no transaction
DROP INDEX CONCURRENTLY IF EXISTS kindledger_transactions_raw_data;

DROP INDEX CONCURRENTLY IF EXISTS kindledger_transactions_pending;

DROP INDEX CONCURRENTLY IF EXISTS kindledger_transactions_created;

DROP INDEX CONCURRENTLY IF EXISTS kindledger_transactions_status_created;

DROP INDEX CONCURRENTLY IF EXISTS kindledger_transactions_campaign_type_status;

DROP INDEX CONCURRENTLY IF EXISTS kindledger_donations_metadata;

DROP INDEX CONCURRENTLY IF EXISTS kindledger_donations_pending;

DROP INDEX CONCURRENTLY IF EXISTS kindledger_donations_hash;

DROP INDEX CONCURRENTLY IF EXISTS kindledger_donations_confirmed;

DROP INDEX CONCURRENTLY IF EXISTS kindledger_donations_donated;

DROP INDEX CONCURRENTLY IF EXISTS kindledger_donations_status_donated;

DROP INDEX CONCURRENTLY IF EXISTS kindledger_donations_donor;

DROP INDEX CONCURRENTLY IF EXISTS kindledger_donations_campaign_status_amount;

DROP INDEX CONCURRENTLY IF EXISTS kindledger_campaigns_metadata;

DROP INDEX CONCURRENTLY IF EXISTS kindledger_campaigns_hash;

DROP INDEX CONCURRENTLY IF EXISTS kindledger_campaigns_open;

DROP INDEX CONCURRENTLY IF EXISTS kindledger_campaigns_dates;

DROP INDEX CONCURRENTLY IF EXISTS kindledger_campaigns_status_created;

DROP INDEX CONCURRENTLY IF EXISTS kindledger_campaigns_organization;

DROP INDEX CONCURRENTLY IF EXISTS kindledger_campaigns_owner;

DROP INDEX CONCURRENTLY IF EXISTS kindledger_users_organization;
