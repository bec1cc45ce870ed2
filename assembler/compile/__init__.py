"""One file for each format a Subnet can be written in."""
