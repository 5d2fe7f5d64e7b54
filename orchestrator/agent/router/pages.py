"""What the router itself answers with: the maintenance page."""

from __future__ import annotations

_BODY = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Maintenance</title>
<body style="font-family: sans-serif; margin: 20vh auto; max-width: 32em; text-align: center">
<h1>Down for maintenance</h1><p>We are working on it. Please try again in a few minutes.</p></body></html>
"""

MAINTENANCE = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    b"Content-Type: text/html; charset=utf-8\r\n"
    b"Cache-Control: no-store\r\n"
    b"Retry-After: 60\r\n"
    b"Content-Length: " + str(len(_BODY)).encode() + b"\r\n\r\n" + _BODY
)
"""An HTTP answer, whole, as HAProxy's ``errorfile`` wants it."""
