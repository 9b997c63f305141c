"""Second-stage scoring of query and passage together."""
