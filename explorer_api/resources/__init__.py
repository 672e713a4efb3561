"""What can be asked for: a module for each kind of thing."""
