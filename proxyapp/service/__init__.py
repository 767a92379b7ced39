"""The composition root: the only package that knows all parts."""

from proxyapp.service.appliance import Appliance, build

__all__ = ["Appliance", "build"]
