"""The commands of `kindledger`, one module for each."""
