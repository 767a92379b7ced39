"""proxyapp: forward proxy, CONNECT tunnels and a static site in one Twisted service."""
