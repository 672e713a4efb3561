"""What is installed with the program and read by it: the migrations of the business database."""
