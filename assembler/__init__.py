"""From a scenario to a verified model file: generate, search, extract, calibrate, compile."""
