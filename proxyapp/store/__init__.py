"""Where stored responses are kept: bodies as files, an index of them, and what is hot in memory."""
