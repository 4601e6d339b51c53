"""What the service bears: submissions, open event streams, downloads.

The API runs as its own processes over a PostgreSQL and a Valkey server, all started here, with API
keys and rate limits on, on one machine with the generator.
"""
