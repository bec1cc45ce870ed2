"""Faults: servers, disks and processes fail while clients post; nothing is lost, nothing is doubled."""
