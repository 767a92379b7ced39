"""Tells twistd that there is a `proxyapp` subcommand; loads nothing of it."""

from twisted.application.service import ServiceMaker

proxyapp = ServiceMaker(
    "proxyapp",
    "proxyapp.tap",
    "Forward proxy, CONNECT tunnels and a static site from one ini file.",
    "proxyapp",
)
