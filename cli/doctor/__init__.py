"""The checks of `kindledger doctor`: each configured part, what is wrong with it, and what to do."""
