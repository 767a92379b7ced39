"""nginx in its two parts: the origin of every load, and a reference row as reverse proxy."""

from __future__ import annotations

from pathlib import Path

# Far past any load: an nginx that closes every thousandth connection would blur the count of
# connections by which the reuse of pools is judged.
REQUESTS_PER_CONNECTION = 100_000_000
# The uplink of a collapse, in 2^20 bytes: as fast as one of 200 Mbit/s.
SLOW_MB_PER_SECOND = 25


def argv(program: str, folder: Path, http: str) -> list[str]:
    """Write a configuration with *http* inside; return the command that runs it."""
    config = folder / "nginx.conf"
    config.write_text(f"""\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 16384; }}
http {{
    default_type application/octet-stream;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests {REQUESTS_PER_CONNECTION};
    keepalive_timeout 600s;
{http}
}}
""")
    return [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)]


def origin(port: int, tls_port: int, files: Path, certificate: Path) -> str:
    """Return the http block of the origin: files, no log, and a count of connections.

    Below /kept/ and /slow/ are the same files, to be cached for a day; below /unkept/ for no time.

    *tls_port* has the same over TLS, with the key and the *certificate* in that file.
    """
    return f"""\
    access_log off;
    sendfile on;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        listen 127.0.0.1:{tls_port} ssl backlog=1024;
        ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        root {files};
        location = /status {{ stub_status; }}
        location /kept/ {{ alias {files}/; expires 1d; }}
        location /unkept/ {{ alias {files}/; add_header Cache-Control no-store; }}
        location /slow/ {{ alias {files}/; expires 1d; limit_rate {SLOW_MB_PER_SECOND}m; }}
    }}"""


def files(port: int, folder: Path) -> str:
    """Return a server of the files in *folder*, as distributions set nginx up for that."""
    return f"""\
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {folder};
        sendfile on;
        tcp_nopush on;
    }}"""


def reverse_proxy(port: int, origin_port: int, idle: int, log: Path) -> str:
    """Return the http block of the reference row, with *idle* kept upstream connections.

    It reads absolute-form requests as any server must (RFC 9112 section 3.2.2), yet goes to one
    origin only and has no rules to judge by: the least a proxy can cost.
    """
    return f"""\
    access_log {log} combined;
    upstream origin {{
        server 127.0.0.1:{origin_port};
        keepalive {idle};
        keepalive_requests {REQUESTS_PER_CONNECTION};
    }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_max_temp_file_size 0;
        }}
    }}"""
