"""Who a caller is: credentials of a call -> Caller, which every function of the core takes.

How a call is authenticated:

    authenticator.py          what the front ends need to know
    credentials.py            the header Authorization -> a token
    authenticator_router.py   chooses one of the following by the credentials
    anonymous.py              without authentication, everybody is the same caller
    token_authenticator.py    tokens of the service itself
    session_authenticator.py  the session of somebody who signed in with a browser
    jwt_authenticator.py      JWTs of an OpenID Connect provider or a Kubernetes cluster; jwt_claims.py checks them
    lookup_cache.py           keeps results of look-ups for a few seconds
    refused_calls.py          the calls that were refused, for the audit log

Identities from an external provider or cluster:

    identity_settings.py      whose tokens the service accepts
    external_identity.py      wires the modules that check them
    issuer.py, fetcher.py     the documents and keys of an issuer
    oidc.py                   signing in at a provider; pending_sign_in.py is a sign-in under way
    person_from_claims.py     the claims of a JWT -> a person
    grants.py                 which workspaces they may enter, by their groups

What people manage:

    access.py                 all of this, wired for the front ends
    workspaces.py, workspace_limits.py  teams, and what each may use
    tokens.py, token_text.py  tokens as they are stored, and what they look like
    sessions.py               of people who signed in with a browser
    tracking_uris.py          short-lived tokens in a URL, for MLflow's clients
    command_line.py           signing in the command line with the browser
    operator.py               the caller of commands that work on the database itself: may do everything
"""
