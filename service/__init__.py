"""The HTTP front end, the worker process and what they keep: jobs, models, artifacts."""
