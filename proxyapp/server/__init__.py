"""The clients' side: connections, the requests on them in turn, and the answers."""
