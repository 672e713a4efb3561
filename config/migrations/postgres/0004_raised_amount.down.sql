-- A campaign whose amount was corrected gets its previous one back unless it has changed since.
LOCK TABLE donations, campaigns IN SHARE ROW EXCLUSIVE MODE;

UPDATE campaigns
SET raised_amount = before.raised_amount, status = before.status, updated_at = now()
FROM ledger_raised_amount_before AS before
WHERE id = campaign_id AND campaigns.raised_amount = corrected_amount AND campaigns.status = corrected_status;

DROP TRIGGER ledger_raised_amount_insert ON donations;
DROP TRIGGER ledger_raised_amount_update ON donations;
DROP TRIGGER ledger_raised_amount_delete ON donations;
DROP TRIGGER ledger_raised_amount_truncate ON donations;
DROP FUNCTION ledger_raised_amount_insert();
DROP FUNCTION ledger_raised_amount_update();
DROP FUNCTION ledger_raised_amount_delete();
DROP FUNCTION ledger_raised_amount_truncate();

DO $$
DECLARE
    replaced record;
BEGIN
    FOR replaced IN SELECT * FROM ledger_triggers_before LOOP
        EXECUTE replaced.definition;
        EXECUTE format(
            'ALTER TABLE donations %s TRIGGER %I',
            CASE replaced.enabled
                WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE'
            END,
            replaced.name
        );
        RAISE NOTICE 'trigger % on donations is back', replaced.name;
    END LOOP;
END
$$;

DROP TABLE ledger_raised_amount_before;
DROP TABLE ledger_triggers_before;
