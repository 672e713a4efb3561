"""The parts of `kindledger audit`: the range, its checks, and the report."""
