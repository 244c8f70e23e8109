"""What the pages for signing in look like."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.responses import Response

from runstream_service.http.page_html import page

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller

# At its own path, the form has no action, so it is sent to the address of its page. Browsers keep the fragment of that
# address, in which MLflow's UI has the page that somebody wanted to see.
_SIGN_IN = """<h1>Sign in</h1>
{problem}
{provider}
<form method="post"{action}>
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" spellcheck="false" required autofocus>
<button>Sign in</button>
</form>
<p>A token begins with <code>rst_</code>. Ask somebody who manages your workspace for one. They make it with:</p>
<pre>runstream token create --workspace team-a --role write --name yours</pre>
"""
_PROVIDER = '<p><a class="button" href="{url}">Sign in with your organisation</a></p><p>Or with a token:</p>'
_SIGNED_IN = """<h1>You are signed in</h1>
<p>You are <b>{principal}</b>, with the role <b>{role}</b> in the workspace <b>{workspace}</b>.</p>
<p><a class="button" href="./">Runs and charts</a>
<a class="button quiet" href="mlflow/">MLflow's UI</a>
<a class="button quiet" href="signin/workspace">Choose another workspace</a></p>
<form method="post" action="signout"><button class="quiet">Sign out</button></form>
"""
_QUIET = ' class="quiet"'
_WORKSPACES = """<h1>Choose a workspace</h1>
<form method="post">
{buttons}
</form>
"""


def sign_in_page(*, action: str = "", provider: str = "", problem: str = "", status: int = 200) -> Response:
    """The form, sent to the path `action` or, without it, to the path of this page; and a link to the URL `provider`,
    if there is one. `problem` says why the form is shown again."""
    shown = f'<p class="problem" role="alert">{html.escape(problem[:1].upper() + problem[1:])}</p>' if problem else ""
    link = _PROVIDER.format(url=html.escape(provider)) if provider else ""
    where = f' action="{html.escape(action)}"' if action else ""
    return page(_SIGN_IN.format(problem=shown, provider=link, action=where), title="Sign in · runstream", status=status)


def signed_in_page(caller: Caller, *, sign_out_at: str) -> Response:
    """Who somebody is, and a button to sign out, which may lead on to the provider's URL `sign_out_at`."""
    body = _SIGNED_IN.format(
        principal=html.escape(caller.principal), role=caller.role, workspace=html.escape(caller.workspace)
    )
    # Browsers apply the policy also to where the answer to a form redirects.
    parts = urlsplit(sign_out_at)
    targets = f"'self' {parts.scheme}://{parts.netloc}" if sign_out_at else "'self'"
    return page(body, title="Signed in · runstream", form_targets=targets)


def workspaces_page(workspaces: Sequence[str], chosen: str) -> Response:
    """One button for each workspace."""
    buttons = "\n".join(_button(name, "" if name == chosen else _QUIET) for name in workspaces)
    return page(_WORKSPACES.format(buttons=buttons), title="Workspaces · runstream")


def _button(workspace: str, attributes: str) -> str:
    name = html.escape(workspace)
    return f'<button name="workspace" value="{name}"{attributes}>{name}</button>'
