"""Types by name."""

from __future__ import annotations

import mimetypes

import pytest

from proxyapp.site import mediatypes

UTF8 = b"; charset=utf-8"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"", b"application/octet-stream"),
        (b"README", b"application/octet-stream"),
        (b"a.unheard-of", b"application/octet-stream"),
        (b"trailing.", b"application/octet-stream"),
        (b"a.html.\xff", b"application/octet-stream"),
        (b"index.html", b"text/html" + UTF8),
        (b"INDEX.HTM", b"text/html" + UTF8),
        (b"a.css", b"text/css" + UTF8),
        (b"a.js", b"text/javascript" + UTF8),
        (b"a.mjs", b"text/javascript" + UTF8),
        (b"a.md", b"text/markdown" + UTF8),
        (b"a.csv", b"text/csv" + UTF8),
        (b"proxy.pac", b"application/x-ns-proxy-autoconfig" + UTF8),
        (b"wpad.dat", b"application/x-ns-proxy-autoconfig" + UTF8),
        (b"other.dat", b"application/octet-stream"),
        (b"a.json", b"application/json"),
        (b"a.webmanifest", b"application/manifest+json"),
        (b"a.xml", b"application/xml"),
        (b"a.svg", b"image/svg+xml"),
        (b"a.png", b"image/png"),
        (b"a.webp", b"image/webp"),
        (b"a.wasm", b"application/wasm"),
        (b"a.woff2", b"font/woff2"),
        (b"a.mp4", b"video/mp4"),
        (b"router.fw", b"application/octet-stream"),
        (b"board.elf", b"application/octet-stream"),
        (b"update.swu", b"application/octet-stream"),
        (b"disk.wic", b"application/octet-stream"),
        (b"blink.hex", b"text/plain" + UTF8),
        (b"blink.S19", b"text/plain" + UTF8),
        (b"SHA.sha256", b"text/plain" + UTF8),
        (b"a.vcf", b"text/vcard" + UTF8),
        (b"package.ipk", b"application/vnd.debian.binary-package"),
        (b"wheel.whl", b"application/zip"),
        (b"live.m3u8", b"application/vnd.apple.mpegurl"),
        (b"photo.heic", b"image/heic"),
        (b"a.pdf", b"application/pdf"),
        (b"a.deb", b"application/vnd.debian.binary-package"),
        (b"a.apk", b"application/vnd.android.package-archive"),
        (b"firmware.bin", b"application/octet-stream"),
        (b"disk.img", b"application/octet-stream"),
        (b"a.tar.gz", b"application/gzip"),
        (b"a.tar", b"application/x-tar"),
        (b"a.zip", b"application/zip"),
    ],
)
def test_the_type_follows_from_the_name(name: bytes, expected: bytes) -> None:
    """The last suffix decides, in either case; what is unknown is just bytes."""
    assert mediatypes.content_type(name) == expected


def test_the_system_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Types an admin added to the system's files change nothing."""
    before = mediatypes._content_types()
    mimetypes.add_type("application/strange", ".html")
    mimetypes.add_type("application/strange", ".unheard-of")
    try:
        assert mediatypes._content_types() == before
    finally:
        mimetypes.init()
