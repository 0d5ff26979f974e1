"""What we claim to be fast, and the commands that show it. Tests don't time things; these do."""
