"""What this program reaches, beside what MongoDB and the machine can reach in the same run."""
