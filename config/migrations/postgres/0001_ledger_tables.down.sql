DROP FUNCTION ledger_notify();
DROP TABLE ledger_discrepancies;
DROP TABLE ledger_cursor;
