"""Makes the documents that MongoDB stores from decoded blocks, without any I/O."""
