"""Settings of all tests: property tests have no deadline, the machines are noisy."""

from hypothesis import settings

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
