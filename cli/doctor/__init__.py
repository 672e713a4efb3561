"""The checks of `kindledger doctor`: what is wrong with each configured part, and what to do."""
