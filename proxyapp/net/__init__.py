"""Twisted made fast: the only place that touches the reactor's private names."""
