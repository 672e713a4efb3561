"""The command `kindledger`: reads the configuration and puts the parts together. Nothing imports it."""
