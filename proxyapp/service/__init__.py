"""The composition root: the only package that knows all parts."""

from proxyapp.service.appliance import Appliance, build
from proxyapp.service.logs import with_event_log

__all__ = ["Appliance", "build", "with_event_log"]
