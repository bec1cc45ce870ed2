"""The client's commands: they ask a running service, and need nothing of it on this machine."""
