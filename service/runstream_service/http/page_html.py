"""The HTML of the service's own pages: plain, without a script."""

from __future__ import annotations

import base64
import hashlib

from starlette.responses import HTMLResponse

_STYLE = """
body { font: 1rem/1.6 system-ui; max-width: 44rem; margin: 4rem auto; padding: 0 1rem }
pre { background: #8881; padding: 1rem; border-radius: .4rem; overflow: auto }
form { margin: 1.5rem 0 } label { display: block; font-weight: 600 }
input { font: inherit; width: 100%; box-sizing: border-box; padding: .5rem .7rem; margin: .3rem 0 1rem;
  border: 1px solid #8888; border-radius: .4rem; background: Field; color: FieldText }
button, .button { font: inherit; display: inline-block; padding: .5rem 1.2rem; margin: 0 .5rem .5rem 0; cursor: pointer;
  border: 1px solid #0a6ebd; border-radius: .4rem; background: #0a6ebd; color: #fff; text-decoration: none }
.quiet { background: none; color: inherit; border-color: #8888 }
.problem { border-left: .3rem solid #c62828; background: #c6282814; padding: .6rem 1rem; border-radius: .2rem }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def page(body: str, *, title: str = "runstream", status: int = 200, form_targets: str = "'self'") -> HTMLResponse:
    """A page with `body`, which is HTML, and `title`, which must be safe in HTML. `form_targets`: where its forms may
    lead to, redirects included, as sources of a content security policy."""
    html = (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n{body}"
    )
    # No script runs, whatever a name on the page contains.
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action {form_targets}; frame-ancestors 'none'; "
        "base-uri 'none'"
    )
    return HTMLResponse(html, status, {"content-security-policy": policy, "cache-control": "no-store"})
