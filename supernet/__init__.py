"""The trained modular network: what can be recognised, and the modules that do it."""
