-- What the daemon keeps for itself, and how it hears of new hashes. A business schema of another shape needs no more
-- than this: `kindledger migrate to 1`, and triggers like those of 0005 on its own tables.

CREATE TABLE ledger_cursor (
    channel        TEXT PRIMARY KEY,
    height         BIGINT NOT NULL,
    block_hash     TEXT NOT NULL,
    audited_height BIGINT NOT NULL DEFAULT 0,
    unusable_ids   BIGINT NOT NULL DEFAULT 0,
    updated_at     TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE ledger_cursor IS 'How far each channel is settled; moves in the same transaction as the rows.';

-- `subject` is the row's key as text, or the transaction's id where no row exists.
CREATE TABLE ledger_discrepancies (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel    TEXT NOT NULL,
    kind       TEXT NOT NULL,
    table_name TEXT NOT NULL DEFAULT '',
    subject    TEXT NOT NULL,
    tx_hash    TEXT NOT NULL,
    ledger     JSONB NOT NULL,
    found      JSONB NOT NULL,
    opened_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    closed_at  TIMESTAMPTZ
);
COMMENT ON TABLE ledger_discrepancies IS 'Where rows and ledger differ; closed when they agree again.';

CREATE UNIQUE INDEX ledger_discrepancies_open
    ON ledger_discrepancies (channel, table_name, subject, kind) WHERE closed_at IS NULL;
CREATE INDEX ledger_discrepancies_open_by_id ON ledger_discrepancies (channel, id) WHERE closed_at IS NULL;

-- Announces hashes on the channel kindledger_hashes. The argument names the column that holds them:
--   AFTER INSERT … REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION ledger_notify('tx_hash')
--   AFTER UPDATE OF tx_hash … FOR EACH ROW EXECUTE FUNCTION ledger_notify('tx_hash')
-- More than 100 hashes at once, or one too long for a payload, are announced as an empty payload: sweep.
CREATE FUNCTION ledger_notify() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    most   CONSTANT integer := 100;
    hashes text[];
BEGIN
    IF TG_LEVEL = 'ROW' THEN
        EXECUTE format('SELECT array_remove(ARRAY[($1).%I::text], NULL)', TG_ARGV[0]) INTO hashes USING NEW;
    ELSE
        EXECUTE format(
            'SELECT array_agg(hash) FROM ('
                'SELECT DISTINCT %1$I::text AS hash FROM inserted WHERE %1$I IS NOT NULL LIMIT $1'
            ') AS distinct_hashes',
            TG_ARGV[0]
        ) INTO hashes USING most + 1;
    END IF;
    IF cardinality(hashes) > most OR EXISTS (SELECT FROM unnest(hashes) AS hash WHERE octet_length(hash) > 2000) THEN
        PERFORM pg_notify('kindledger_hashes', '');
    ELSE
        PERFORM pg_notify('kindledger_hashes', hash) FROM unnest(hashes) AS hash;
    END IF;
    RETURN NULL;
END
$$;
