"""Where log lines go, and the event log; requestlog makes the lines of requests."""
