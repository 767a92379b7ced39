"""The page at /fetch/ to try the content proxy: a form, and when which bytes arrived, drawn."""

from __future__ import annotations

import base64
import hashlib

from proxyapp import errors
from proxyapp.exchange import Reply, Request
from proxyapp.wire.headers import RawFields
from proxyapp.wire.messages import OutgoingResponse

_ALLOW = (b"Allow", b"GET, HEAD, OPTIONS")

# "Regular" is what a page has that waits for the whole answer, "streaming" one that reads it as it
# arrives. Everything is drawn from one download, so that both stand beside each other fairly.
_SCRIPT = """
"use strict";
const form = document.forms[0], out = document.querySelector("output");
const chart = document.querySelector("svg"), rows = document.querySelector("tbody");
const SVG = "http://www.w3.org/2000/svg", LEFT = 90, WIDTH = 500;

function address() {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (value) query.append(name, value);
  return location.pathname.replace(/\\/+$/, "") + "?" + query;
}

function add(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (text) made.textContent = text;
  parent.append(made);
}

function bar(y, label, from, to, whole, kind) {
  const scale = WIDTH / whole, x = LEFT + from * scale, width = Math.max(2, (to - from) * scale);
  add(chart, "text", {x: 0, y: y + 14}, label);
  add(chart, "rect", {x: LEFT, y: y, width: from * scale, height: 18, class: "wait"});
  add(chart, "rect", {x: x, y: y, width: width, height: 18, class: kind});
  const anchor = from > 0.8 * whole ? "end" : "start";
  add(chart, "text", {x: x, y: y + 34, class: "small", "text-anchor": anchor},
    from.toFixed(0) + " ms");
}

function draw(head, pieces, whole) {
  const first = pieces.length ? pieces[0].at : whole, total = Math.max(whole, 1);
  const size = pieces.length ? pieces[pieces.length - 1].size : 0;
  chart.replaceChildren();
  bar(0, "regular", whole, whole, total, "late");
  bar(50, "streaming", first, whole, total, "early");
  let path = "M" + (LEFT + first / total * WIDTH) + ",190";
  for (const piece of pieces)
    path += " L" + (LEFT + piece.at / total * WIDTH) + "," + (190 - 80 * piece.size / (size || 1));
  add(chart, "text", {x: 0, y: 160}, "bytes");
  add(chart, "path", {d: path, class: "curve"});
  const row = rows.insertRow(0);
  const cells = [head, first, whole, whole - first].map(each => each.toFixed(1)).concat(size);
  for (const cell of cells) row.insertCell().textContent = cell;
}

async function measure(url) {
  const began = performance.now(), since = () => performance.now() - began;
  const response = await fetch(url, {cache: "no-store"});
  const head = since(), pieces = [], reader = response.body.getReader();
  let size = 0, text = "";
  const decoder = new TextDecoder();
  for (let next; !(next = await reader.read()).done;) {
    size += next.value.length;
    pieces.push({at: since(), size: size});
    if (text.length < 2000) text += decoder.decode(next.value, {stream: true});
    draw(head, pieces, since());
    rows.deleteRow(0);
  }
  draw(head, pieces, since());
  const type = response.headers.get("Content-Type") || "no type";
  out.textContent = response.status + " " + response.statusText + ", " + type + "\\n\\n"
    + text.slice(0, 2000);
  out.dataset.status = response.status;
}

form.addEventListener("submit", event => {
  event.preventDefault();
  out.textContent = "...";
  delete out.dataset.status;
  document.querySelector("code").textContent = address();
  measure(address()).catch(error => {
    out.textContent = "It didn't arrive whole: " + error.message;
    out.dataset.status = "0";
  });
});

if (location.hash.length > 1) {
  form.elements.url.value = decodeURIComponent(location.hash.slice(1));
  form.requestSubmit();
}
"""
_STYLE = """
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 42rem; margin: 2rem auto; padding: 0 1rem;
  overflow-wrap: anywhere }
h1 { font-size: 1.5rem }
label { display: block; margin: .3rem 0 }
input { font: inherit; width: 100%; box-sizing: border-box }
input.short { width: 12rem }
button { font: inherit; margin: .5rem 0 }
svg { width: 100%; font: 13px system-ui, sans-serif; fill: currentColor }
.small { font-size: 11px }
.wait { fill: #8883 }
.late { fill: #b50 }
.early { fill: #07a }
.curve { fill: none; stroke: #07a; stroke-width: 2 }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: 0 .5rem; border-bottom: 1px solid #8884;
  overflow-wrap: normal }
output { display: block; white-space: pre-wrap; padding: .5rem; background: #8882 }
"""
_PAGE = f"""\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>proxyapp: content proxy</title>
<style>{_STYLE}</style>
<h1>Content proxy</h1>
<p>Fetches a URL through this gateway. A page that waits for the whole answer has nothing to show
until the end (regular); one that reads it while it arrives has the first bytes as soon as the
gateway has them (streaming).</p>
<form>
<label>URL <input name="url" type="url" required placeholder="https://host/path"></label>
<label>Keep for minutes <input name="cache" class="short" inputmode="numeric" pattern="[0-9]*">
</label>
<label>As type <input name="type" class="short" placeholder="text/plain"></label>
<details><summary>If URLs have to be signed</summary>
<label>Expires <input name="expires" class="short" inputmode="numeric"></label>
<label>Signature <input name="signature"></label>
</details>
<button>Fetch</button>
</form>
<p><code></code></p>
<svg viewBox="0 0 600 200" role="img" aria-label="when the bytes arrived"></svg>
<table><thead><tr><th>head ms</th><th>streaming: first byte ms</th>
<th>regular: first byte ms</th><th>sooner by ms</th><th>bytes</th></tr></thead>
<tbody></tbody></table>
<output></output>
<script>{_SCRIPT}</script>
"""


def _hashed(text: str) -> str:
    """Return the source expression that allows just *text* (CSP level 3, section 2.3.1)."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


_FIELDS: RawFields = [
    (b"Content-Type", b"text/html; charset=utf-8"),
    (b"Cache-Control", b"no-store"),
    (
        b"Content-Security-Policy",
        (
            f"default-src 'none'; style-src {_hashed(_STYLE)}; script-src {_hashed(_SCRIPT)};"
            " connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
        ).encode("ascii"),
    ),
    (b"X-Content-Type-Options", b"nosniff"),
]
_BODY = _PAGE.encode("utf-8")


class FetchPage:
    """Answers with the page; it asks the path above its own."""

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder; raises MethodNotAllowed."""
        reply.record.service = "site"
        method = request.head.method
        if method == b"OPTIONS":
            reply.answer(OutgoingResponse(204, b"No Content", [_ALLOW]), b"")
            return
        if method not in (b"GET", b"HEAD"):
            raise errors.MethodNotAllowed("the page can only be read", (_ALLOW,))
        reply.answer(OutgoingResponse(200, b"OK", list(_FIELDS)), _BODY)
