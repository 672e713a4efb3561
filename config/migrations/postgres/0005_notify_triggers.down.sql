DROP TRIGGER ledger_notify_insert ON transactions;
DROP TRIGGER ledger_notify_update ON transactions;
DROP TRIGGER ledger_notify_insert ON donations;
DROP TRIGGER ledger_notify_update ON donations;
DROP TRIGGER ledger_notify_insert ON campaigns;
DROP TRIGGER ledger_notify_update ON campaigns;
