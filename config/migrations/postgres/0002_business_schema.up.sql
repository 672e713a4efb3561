-- KindLedger's business schema. What exists already is adopted: it stays as it is, and must have the columns that
-- reconciliation, the views and the indexes use. What is made here carries a comment, by which the way down knows it.

SELECT set_config('kindledger.adopted', coalesce(string_agg(relname, ','), ''), true)
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = current_schema();

CREATE TABLE IF NOT EXISTS organizations (
    id            UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    name          VARCHAR(255) NOT NULL,
    type          VARCHAR(20) NOT NULL CHECK (type IN ('BANK', 'CHARITY', 'SUPPLIER', 'AUDITOR')),
    msp_id        VARCHAR(100) NOT NULL UNIQUE,
    description   TEXT,
    contact_email VARCHAR(255),
    contact_phone VARCHAR(50),
    address       TEXT,
    is_active     BOOLEAN NOT NULL DEFAULT true,
    created_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at    TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS users (
    id              UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    username        VARCHAR(100) NOT NULL UNIQUE,
    email           VARCHAR(255) NOT NULL UNIQUE,
    password_hash   VARCHAR(255) NOT NULL,
    full_name       VARCHAR(255),
    role            VARCHAR(20) NOT NULL CHECK (role IN ('USER', 'ADMIN', 'CHARITY', 'SUPPLIER', 'AUDITOR')),
    organization_id UUID REFERENCES organizations ON DELETE SET NULL,
    msp_id          VARCHAR(100),
    is_active       BOOLEAN NOT NULL DEFAULT true,
    created_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    last_login      TIMESTAMPTZ
);

CREATE TABLE IF NOT EXISTS campaigns (
    id                 VARCHAR(100) PRIMARY KEY,
    name               VARCHAR(255) NOT NULL,
    description        TEXT,
    owner_id           UUID REFERENCES users ON DELETE RESTRICT,
    organization_id    UUID REFERENCES organizations ON DELETE RESTRICT,
    goal_amount        DECIMAL(15, 2) NOT NULL CHECK (goal_amount > 0 AND goal_amount <> 'NaN'),
    raised_amount      DECIMAL(15, 2) NOT NULL DEFAULT 0 CHECK (raised_amount >= 0),
    status             VARCHAR(20) NOT NULL DEFAULT 'OPEN'
        CHECK (status IN ('OPEN', 'COMPLETED', 'CLOSED', 'DISBURSED')),
    start_date         TIMESTAMPTZ,
    end_date           TIMESTAMPTZ,
    created_at         TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at         TIMESTAMPTZ NOT NULL DEFAULT now(),
    blockchain_tx_hash VARCHAR(255),
    metadata           JSONB
);

CREATE TABLE IF NOT EXISTS donations (
    id                 UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    campaign_id        VARCHAR(100) NOT NULL REFERENCES campaigns ON DELETE RESTRICT,
    donor_id           UUID REFERENCES users ON DELETE SET NULL,
    donor_name         VARCHAR(255),
    donor_email        VARCHAR(255),
    amount             DECIMAL(15, 2) NOT NULL CHECK (amount > 0 AND amount <> 'NaN'),
    payment_method     VARCHAR(50),
    payment_reference  VARCHAR(255),
    status             VARCHAR(20) NOT NULL DEFAULT 'PENDING'
        CHECK (status IN ('PENDING', 'CONFIRMED', 'FAILED', 'REFUNDED')),
    donated_at         TIMESTAMPTZ NOT NULL DEFAULT now(),
    confirmed_at       TIMESTAMPTZ,
    blockchain_tx_hash VARCHAR(255),
    metadata           JSONB,
    is_anonymous       BOOLEAN NOT NULL DEFAULT false
);

CREATE TABLE IF NOT EXISTS transactions (
    id               UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    tx_hash          VARCHAR(255) NOT NULL UNIQUE,
    block_number     BIGINT,
    campaign_id      VARCHAR(100) REFERENCES campaigns ON DELETE RESTRICT,
    transaction_type VARCHAR(30) NOT NULL
        CHECK (transaction_type IN ('CREATE_CAMPAIGN', 'DONATE', 'DISBURSE', 'UPDATE_STATUS')),
    amount           DECIMAL(15, 2) CHECK (amount <> 'NaN'),
    from_address     VARCHAR(255),
    to_address       VARCHAR(255),
    status           VARCHAR(20) NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'CONFIRMED', 'FAILED')),
    gas_used         BIGINT,
    gas_price        BIGINT,
    created_at       TIMESTAMPTZ NOT NULL DEFAULT now(),
    confirmed_at     TIMESTAMPTZ,
    raw_data         JSONB
);

DO $$
DECLARE
    lacking text;
BEGIN
    SELECT string_agg(
        format('table %s lacks column %s', table_name, column_name), '; ' ORDER BY table_name, column_name
    ) INTO lacking
    FROM (
        SELECT table_name, unnest(string_to_array(columns, ' ')) AS column_name
        FROM (VALUES
            ('organizations', 'id'),
            ('users', 'id username full_name organization_id'),
            ('campaigns', 'id name owner_id organization_id goal_amount raised_amount status start_date end_date '
                'created_at updated_at blockchain_tx_hash metadata'),
            ('donations', 'id campaign_id donor_id donor_name amount status donated_at confirmed_at '
                'blockchain_tx_hash metadata is_anonymous'),
            ('transactions', 'id tx_hash block_number campaign_id transaction_type amount status created_at '
                'confirmed_at raw_data')
        ) AS used (table_name, columns)
    ) AS required
    WHERE NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = to_regclass(format('%I.%I', current_schema(), table_name))
            AND attname = column_name AND NOT attisdropped
    );
    IF lacking IS NOT NULL THEN
        RAISE EXCEPTION 'the existing schema cannot be adopted: %', lacking
            USING HINT = 'Add what is missing. A schema of another shape needs `kindledger migrate to 1` only, and its '
                'tables and columns in the configuration.';
    END IF;
END
$$;

DO $$
DECLARE
    adopted CONSTANT text[] := string_to_array(current_setting('kindledger.adopted'), ',');
    made    text;
BEGIN
    IF 'campaign_summary' <> ALL (adopted) THEN
        CREATE VIEW campaign_summary AS
        SELECT
            campaigns.id, campaigns.name, campaigns.status, campaigns.goal_amount, campaigns.raised_amount,
            round(100 * campaigns.raised_amount / nullif(campaigns.goal_amount, 0), 2) AS progress_percentage,
            confirmed.donation_count, confirmed.average_donation, confirmed.last_donation_at
        FROM campaigns CROSS JOIN LATERAL (
            SELECT
                count(*) AS donation_count, round(avg(amount), 2) AS average_donation,
                max(donated_at) AS last_donation_at
            FROM donations
            WHERE donations.campaign_id = campaigns.id AND donations.status = 'CONFIRMED'
        ) AS confirmed;
    END IF;
    IF 'donor_statistics' <> ALL (adopted) THEN
        CREATE VIEW donor_statistics AS
        SELECT
            users.id AS donor_id, users.username, users.full_name, confirmed.donation_count, confirmed.campaign_count,
            confirmed.total_amount, confirmed.average_donation, confirmed.first_donation_at, confirmed.last_donation_at
        FROM users CROSS JOIN LATERAL (
            SELECT
                count(*) AS donation_count, count(DISTINCT campaign_id) AS campaign_count,
                coalesce(sum(amount), 0) AS total_amount, round(avg(amount), 2) AS average_donation,
                min(donated_at) AS first_donation_at, max(donated_at) AS last_donation_at
            FROM donations
            WHERE donations.donor_id = users.id AND donations.status = 'CONFIRMED'
        ) AS confirmed
        WHERE confirmed.donation_count > 0;
    END IF;
    FOREACH made IN ARRAY ARRAY['organizations', 'users', 'campaigns', 'donations', 'transactions'] LOOP
        IF made <> ALL (adopted) THEN
            EXECUTE format('COMMENT ON TABLE %I IS %L', made, 'Made by kindledger migrate.');
        ELSE
            RAISE NOTICE 'table % exists and is adopted as it is', made;
        END IF;
    END LOOP;
    FOREACH made IN ARRAY ARRAY['campaign_summary', 'donor_statistics'] LOOP
        IF made <> ALL (adopted) THEN
            EXECUTE format('COMMENT ON VIEW %I IS %L', made, 'Made by kindledger migrate.');
        ELSE
            RAISE NOTICE 'view % exists and stays as it is', made;
        END IF;
    END LOOP;
END
$$;
