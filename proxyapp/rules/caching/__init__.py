"""What RFC 9111 says of storing responses and using them again, as functions without I/O."""
