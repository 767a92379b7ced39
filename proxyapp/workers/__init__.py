"""Worker processes: who accepts on which socket, and how one takes over from another."""
