"""What a client asks of the service, each operation written once for both kinds of clients (see ``steps``)."""
