"""What travels with a model and runs where it does: plain files that import nothing of this project."""
