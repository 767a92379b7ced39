"""A content proxy as they were: it downloads everything, and then delivers it."""

from __future__ import annotations

import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from bench import servers


class Regular(BaseHTTPRequestHandler):
    """One client connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave together

    def do_GET(self) -> None:
        url = parse_qs(urlsplit(self.path).query)["url"][0]
        with urllib.request.urlopen(url, timeout=20) as response:
            body = response.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called
        pass


class Server(ThreadingHTTPServer):
    """A thread for each client, and room for all of them at once."""

    request_queue_size = 512


if __name__ == "__main__":
    Server((servers.LOOPBACK, int(sys.argv[1])), Regular).serve_forever()
