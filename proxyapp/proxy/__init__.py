"""The forward side: origins, the pool of connections to them, and what answers proxy requests."""
