"""Files that are installed with the program: the migrations of the business database."""
