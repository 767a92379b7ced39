"""The media type of a file, by its name alone."""

from __future__ import annotations

import mimetypes
import os

_TEXT_TYPES = frozenset({b"application/x-ns-proxy-autoconfig"})
# What the table of the Python library lacks, or says otherwise in another version of it. Packed
# files keep their own type: nothing here is sent with a Content-Encoding.
_OUR_TYPES = {
    "application/epub+zip": ".epub",
    "application/gzip": ".gz .tgz",
    "application/geo+json": ".geojson",
    "application/gpx+xml": ".gpx",
    "application/java-archive": ".jar",
    "application/json": ".json .map",
    "application/ld+json": ".jsonld",
    "application/manifest+json": ".webmanifest",
    # Firmware and images of disks, whatever other meaning somebody gives to the suffix.
    "application/octet-stream": ".bin .img .uf2 .dmg .msi .fw .rom .dfu .elf .axf .swu .raucb"
    " .mender .trx .chk .sig .ubi .ubifs .squashfs .ext4 .wic .qcow2 .vmdk .vdi .vhd .vhdx",
    "application/vnd.android.package-archive": ".apk",
    "application/vnd.apple.mpegurl": ".m3u8",
    "application/vnd.appimage": ".appimage",
    "application/vnd.debian.binary-package": ".deb .udeb .ipk",
    "application/vnd.flatpak": ".flatpak",
    "application/vnd.rar": ".rar",
    "application/vnd.snap": ".snap",
    "application/vnd.sqlite3": ".sqlite .sqlite3",
    "application/wasm": ".wasm",
    "application/x-7z-compressed": ".7z",
    "application/x-bittorrent": ".torrent",
    "application/x-apple-aspen-config": ".mobileconfig",
    "application/x-bzip2": ".bz2",
    "application/x-iso9660-image": ".iso",
    "application/x-ns-proxy-autoconfig": ".pac",
    "application/x-rpm": ".rpm",
    "application/x-x509-ca-cert": ".crt .cer .pem",
    "application/x-xz": ".xz",
    # Not text/xml: a charset there would overrule what the document says of itself.
    "application/xml": ".xml .xsl",
    "application/zip": ".zip .whl .nupkg .vsix .xpi .ipa",
    "application/zstd": ".zst",
    "audio/flac": ".flac",
    "audio/mp4": ".m4a",
    "audio/ogg": ".ogg .oga .opus",
    "font/otf": ".otf",
    "font/ttf": ".ttf",
    "font/woff": ".woff",
    "font/woff2": ".woff2",
    "image/avif": ".avif",
    "image/heic": ".heic",
    "image/jxl": ".jxl",
    "image/webp": ".webp",
    "text/calendar": ".ics",
    "text/javascript": ".js .mjs",
    "text/markdown": ".md .markdown",
    "text/plain": ".txt .log .conf .cfg .ini .toml .yaml .yml .sh .py .rst .list .sum .diff .patch"
    # Firmware as text, and what goes with packages and downloads.
    " .hex .ihex .ihx .srec .s19 .s28 .s37 .mot .asc .dsc .md5 .sha1 .sha256 .sha512 .bmap",
    "text/vcard": ".vcf",
    "text/vtt": ".vtt",
    "video/x-matroska": ".mkv",
}


def _content_types() -> dict[bytes, bytes]:
    """Return suffix -> Content-Type, the same on every machine: no file of the system is asked."""
    types = dict(mimetypes.MimeTypes().types_map[1])
    for name, suffixes in _OUR_TYPES.items():
        types.update(dict.fromkeys(suffixes.split(), name))
    return {os.fsencode(suffix): _with_charset(os.fsencode(types[suffix])) for suffix in types}


def _with_charset(media_type: bytes) -> bytes:
    is_text = media_type.startswith(b"text/") or media_type in _TEXT_TYPES
    return media_type + b"; charset=utf-8" if is_text else media_type


_CONTENT_TYPES = _content_types()


def content_type(name: bytes) -> bytes:
    """Return the Content-Type of a file called *name*."""
    if name == b"wpad.dat":
        return _CONTENT_TYPES[b".pac"]
    _, suffix = os.path.splitext(name)
    return _CONTENT_TYPES.get(suffix.lower(), b"application/octet-stream")
