"""HTTP/1.x as bytes and as values (RFC 9112): no I/O, no clock."""
