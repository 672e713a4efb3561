"""`kindledger doctor`: looks at each part that the configuration names, and says what fails and what to do."""
