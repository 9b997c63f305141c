"""Asking model servers over HTTP: addresses, keys, timeouts, bounded retries, and answers that are checked."""
