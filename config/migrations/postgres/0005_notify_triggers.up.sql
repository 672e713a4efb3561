-- Rows that come late, or get their hash late, are announced to the daemon.

CREATE TRIGGER ledger_notify_insert AFTER INSERT ON transactions
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION ledger_notify('tx_hash');
CREATE TRIGGER ledger_notify_update AFTER UPDATE OF tx_hash ON transactions
    FOR EACH ROW WHEN (NEW.tx_hash IS DISTINCT FROM OLD.tx_hash) EXECUTE FUNCTION ledger_notify('tx_hash');

CREATE TRIGGER ledger_notify_insert AFTER INSERT ON donations
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION ledger_notify('blockchain_tx_hash');
CREATE TRIGGER ledger_notify_update AFTER UPDATE OF blockchain_tx_hash ON donations
    FOR EACH ROW WHEN (NEW.blockchain_tx_hash IS DISTINCT FROM OLD.blockchain_tx_hash)
    EXECUTE FUNCTION ledger_notify('blockchain_tx_hash');

CREATE TRIGGER ledger_notify_insert AFTER INSERT ON campaigns
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION ledger_notify('blockchain_tx_hash');
CREATE TRIGGER ledger_notify_update AFTER UPDATE OF blockchain_tx_hash ON campaigns
    FOR EACH ROW WHEN (NEW.blockchain_tx_hash IS DISTINCT FROM OLD.blockchain_tx_hash)
    EXECUTE FUNCTION ledger_notify('blockchain_tx_hash');
