"""An archive of raw blocks in a folder: files with the blocks as their source delivered them."""
