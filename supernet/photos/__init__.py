"""Photos: a user's own image folder or zip, checked as a whole and read."""
