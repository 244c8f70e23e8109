"""JWTs of other issuers: signature, algorithm, audience and time; and the keys of issuers."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from runstream_service.auth.fetcher import ClusterFetcher, Fetcher
from runstream_service.auth.issuer import REFRESHED_AFTER_S, REFRESHED_AT_MOST_EVERY_S, Issuer
from runstream_service.auth.jwt_claims import LEEWAY_S, verified_claims
from runstream_service.errors.core import IssuerUnavailable, Unauthenticated
from tests.support.issuer import LocalIssuer

URL = "https://issuer.example"
KEYS: dict[str, RSAKey | ECKey | OKPKey] = {
    "rsa": RSAKey.generate_key(2048, {"kid": "rsa"}),
    "ec": ECKey.generate_key("P-256", {"kid": "ec"}),
    "ed": OKPKey.generate_key("Ed25519", {"kid": "ed"}),
}
SIGNS = {"rsa": "RS256", "ec": "ES256", "ed": "Ed25519"}


class Documents:
    """An issuer's documents, and how often they were fetched."""

    def __init__(self, *keys: str) -> None:
        self.keys: list[Any] = [KEYS[key].as_dict(private=False) for key in keys]
        self.is_away = False
        self.fetched: list[str] = []
        self.now = 0.0
        self.issuer = Issuer(URL, self.fetch, clock=lambda: self.now)

    async def fetch(self, url: str) -> Mapping[str, Any]:
        self.fetched.append(url)
        await asyncio.sleep(0)
        if self.is_away:
            raise IssuerUnavailable(f"{url} cannot be reached")
        if url.endswith("openid-configuration"):
            return {"issuer": URL, "jwks_uri": f"{URL}/keys"}
        return {"keys": self.keys}


def signed(key: str = "rsa", *, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
    now = int(time.time())
    said = {"iss": URL, "aud": "us", "iat": now, "exp": now + 60, **claims}
    return jwt.encode(
        {"alg": SIGNS[key], "kid": key, **(header or {})},
        {name: value for name, value in said.items() if value is not None},
        KEYS[key],
        algorithms=list(SIGNS.values()),
    )


def part(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


async def refusal(token: str, documents: Documents | None = None) -> str:
    with pytest.raises(Unauthenticated) as raised:
        await verified_claims(token, (documents or Documents(*KEYS)).issuer, ["us"])
    return raised.value.message


@pytest.mark.parametrize("key", KEYS)
async def test_a_token_that_the_issuer_signed_for_us_is_taken(key: str) -> None:
    claims = await verified_claims(signed(key, sub="ada"), Documents(*KEYS).issuer, ["others", "us"])
    assert claims["sub"] == "ada"


async def test_a_token_without_a_signature_is_refused() -> None:
    now = time.time()
    body = part({"iss": URL, "aud": "us", "exp": now + 60})
    assert "signed with 'none'" in await refusal(f"{part({'alg': 'none', 'kid': 'rsa'})}.{body}.")


async def test_the_public_key_is_no_shared_secret() -> None:
    public = KEYS["rsa"].as_pem(private=False)
    body = part({"iss": URL, "aud": "us", "exp": time.time() + 60})
    text = f"{part({'alg': 'HS256', 'kid': 'rsa'})}.{body}"
    signature = base64.urlsafe_b64encode(hmac.digest(public, text.encode(), "sha256")).rstrip(b"=").decode()
    assert "signed with 'HS256'" in await refusal(f"{text}.{signature}")


async def test_a_key_signs_with_its_own_algorithms_alone() -> None:
    head, body, signature = signed("rsa").split(".")
    for algorithm in ("ES256", "PS256", "Ed25519"):
        token = f"{part({'alg': algorithm, 'kid': 'rsa'})}.{body}.{signature}"
        assert "was not made by" in await refusal(token)
    assert head


async def test_shared_secrets_and_keys_for_encryption_among_the_public_ones_are_ignored() -> None:
    documents = Documents("ec")
    documents.keys += [
        {"kty": "oct", "kid": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"},
        {**KEYS["rsa"].as_dict(private=False), "use": "enc"},
        {"kty": "new kind", "kid": "new"},
        "no key",
    ]
    assert await documents.issuer.key("ec")
    assert [await documents.issuer.key(name) for name in ("oct", "rsa", "new")] == [None] * 3


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"iss": "https://other.example"}, "was issued by 'https://other.example'"),
        ({"aud": "others"}, "is for 'others', not for this service"),
        ({"aud": ["a", "b"]}, "ask for one with the audience 'us'"),
        ({"aud": None}, "not for this service"),
        ({"exp": None}, "no time in exp"),
        ({"exp": "tomorrow"}, "no time in exp"),
        ({"exp": True}, "no time in exp"),
    ],
)
async def test_the_error_says_what_is_wrong_with_a_token(claims: dict[str, Any], said: str) -> None:
    assert said in await refusal(signed(**claims))


async def test_clocks_may_differ_a_little_and_how_much_too_much_it_is_is_said() -> None:
    now = int(time.time())
    slack = int(LEEWAY_S / 2)
    assert await verified_claims(signed(iat=now + slack, nbf=now + slack), Documents("rsa").issuer, ["us"])
    assert await verified_claims(signed(exp=now - slack), Documents("rsa").issuer, ["us"])
    early = re.search(r"valid in (\d+) s: the clock of this service is behind", await refusal(signed(nbf=now + 300)))
    late = re.search(r"expired (\d+) s ago, by the clock of this service", await refusal(signed(exp=now - 300)))
    assert early is not None
    assert late is not None
    assert 290 <= int(early[1]) <= 300 <= int(late[1]) <= 310


@pytest.mark.parametrize("token", ["a.b.c", "..", "é.b.c", f"{part([])}.b.c", f"{part({})}.{part({})}.x"])
async def test_whatever_is_sent_is_refused(token: str) -> None:
    assert await refusal(token)


async def test_a_changed_token_is_refused() -> None:
    head, _, signature = signed().split(".")
    body = part({"iss": URL, "aud": "us", "exp": time.time() + 60, "sub": "somebody else"})
    assert "signature" in await refusal(f"{head}.{body}.{signature}")


# -- keys ------------------------------------------------------------------------------------------------------------


async def test_a_new_key_is_fetched_at_once_and_made_up_ones_cause_one_fetch_in_a_while() -> None:
    documents = Documents("rsa")
    await asyncio.gather(*(documents.issuer.key("rsa") for _ in range(50)))
    assert len(documents.fetched) == 2, "the discovery document and the keys, once"
    documents.now += REFRESHED_AT_MOST_EVERY_S
    documents.keys = [KEYS["ec"].as_dict(private=False)]
    assert await documents.issuer.key("ec")
    assert await documents.issuer.key("rsa") is None, "it was taken back"
    fetched = len(documents.fetched)
    for number in range(100):
        assert await documents.issuer.key(f"made up {number}") is None
    assert len(documents.fetched) == fetched
    documents.now += REFRESHED_AT_MOST_EVERY_S
    assert await documents.issuer.key("made up") is None
    assert len(documents.fetched) == fetched + 1


async def test_keys_stay_in_use_while_the_issuer_is_away() -> None:
    documents = Documents("rsa")
    assert await documents.issuer.key("rsa")
    documents.is_away = True
    documents.now += 10 * REFRESHED_AFTER_S
    for _ in range(3):
        assert await documents.issuer.key("rsa")
        await asyncio.sleep(0)
    assert await documents.issuer.key("unknown") is None


async def test_an_issuer_that_was_never_reached_makes_calls_try_again() -> None:
    documents = Documents("rsa")
    documents.is_away = True
    for _ in range(3):
        with pytest.raises(IssuerUnavailable, match="cannot be reached"):
            await documents.issuer.key("rsa")
    assert len(documents.fetched) == 1
    documents.is_away = False
    documents.now += REFRESHED_AT_MOST_EVERY_S
    assert await documents.issuer.key("rsa")


async def test_a_document_of_another_issuer_is_not_believed() -> None:
    async def fetch(_url: str) -> Mapping[str, Any]:
        return {"issuer": "https://other.example", "jwks_uri": "https://other.example/keys"}

    with pytest.raises(IssuerUnavailable, match=r"names another issuer: 'https://other\.example'"):
        await Issuer(URL, fetch).key("rsa")


async def test_a_document_that_leads_to_plain_http_is_not_followed() -> None:
    async def fetch(_url: str) -> Mapping[str, Any]:
        return {"issuer": URL, "jwks_uri": "http://issuer.example/keys"}

    with pytest.raises(IssuerUnavailable, match="no https:// URL in jwks_uri"):
        await Issuer(URL, fetch).key("rsa")


async def test_documents_are_fetched_within_bounds() -> None:
    web = Fetcher()
    with LocalIssuer() as issuer:
        assert (await web.fetch(f"{issuer.url}/.well-known/openid-configuration"))["issuer"] == issuer.url
        with pytest.raises(IssuerUnavailable, match="status 404"):
            await web.fetch(f"{issuer.url}/nothing")
        with pytest.raises(IssuerUnavailable, match="not JSON"):
            await web.fetch(f"{issuer.url}/sign-out")
    with pytest.raises(IssuerUnavailable, match="cannot be reached"):
        await web.fetch(f"{issuer.url}/keys")
    await web.close()


async def test_the_pods_own_token_goes_to_its_api_server_alone(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of the pod\n")
    web = ClusterFetcher(tmp_path, api_server="127.0.0.1")
    with LocalIssuer() as issuer:
        await web.fetch(f"{issuer.url}/keys")
        await web.fetch(f"{issuer.url.replace('127.0.0.1', 'localhost')}/keys")
    assert issuer.authorizations == ["Bearer of the pod", None]
    await web.close()
