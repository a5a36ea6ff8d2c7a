"""The embedded model: fetched, started as a child process, stopped."""
