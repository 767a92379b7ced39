"""The composition root: the only package that knows all parts."""

from proxyapp.service.appliance import Appliance, build
from proxyapp.service.logs import events_of, make_event_log

__all__ = ["Appliance", "build", "events_of", "make_event_log"]
