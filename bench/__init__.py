"""Measures proxyapp beside the rivals that are installed; nothing here is a test."""
