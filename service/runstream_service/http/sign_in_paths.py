"""Paths of the pages where people sign in."""

from __future__ import annotations

SIGN_IN = "/signin"
SIGN_OUT = "/signout"
CHOOSE_WORKSPACE = "/signin/workspace"
OIDC_BEGIN = "/signin/oidc"
OIDC_CALLBACK = "/signin/oidc/callback"

SIGN_IN_PATHS = frozenset((SIGN_IN, SIGN_OUT, CHOOSE_WORKSPACE, OIDC_BEGIN, OIDC_CALLBACK))
