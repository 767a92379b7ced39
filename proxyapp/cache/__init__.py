"""The cache: what is stored, how requests use it, and how it is filled (RFC 9111)."""
