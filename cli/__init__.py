"""The command `kindledger`: reads the configuration, assembles the parts and runs them."""
