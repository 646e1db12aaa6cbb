"""Two hundred made-up strings: a hundred secrets of every kind and a hundred values that only look like some.

Everything is drawn by a seeded generator from parts, so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

ALNUM = string.ascii_letters + string.digits
URL_SAFE = ALNUM + "-_"
HEX = "0123456789abcdef"
B64 = ALNUM + "+/"


class Sample(NamedTuple):
    """A value of a row; ``secret`` is what has to be gone, None where nothing may change."""

    kind: str
    value: Any
    secret: str | None


class Draw:
    """Random strings of given alphabets."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def __call__(self, alphabet: str, length: int) -> str:
        """Begins and ends with a letter or digit where the alphabet has both, as keys in a text have to."""
        return "".join(self.random.choice(alphabet) for _ in range(length - 1)) + self.random.choice(
            [c for c in alphabet if c.isalnum()]
        )

    def word(self) -> str:
        return self.random.choice(["harbour", "invoice", "weather", "report", "garden", "station", "museum", "ticket"])

    def uuid(self) -> str:
        return "-".join(self(HEX, n) for n in (8, 4, 4, 4, 12))


KEYS: dict[str, Callable[[Draw], str]] = {
    "AWS access key": lambda d: "AK" + "IA" + d(string.ascii_uppercase + string.digits, 16),
    "GitHub": lambda d: "gh" + d("pousr", 1) + "_" + d(ALNUM, 36),
    "GitHub fine-grained": lambda d: "github" + "_pat_" + d(ALNUM, 22) + "_" + d(ALNUM, 59),
    "OpenAI": lambda d: "s" + "k-" + d(ALNUM, 48),
    "OpenAI project": lambda d: "s" + "k-proj-" + d(URL_SAFE, 74),
    "OpenAI service account": lambda d: "s" + "k-svcacct-" + d(URL_SAFE, 74),
    "Anthropic": lambda d: "s" + "k-ant-api03-" + d(URL_SAFE, 93) + "AA",
    "Hugging Face": lambda d: "h" + "f_" + d(ALNUM, 34),
    "Google": lambda d: "AI" + "za" + d(URL_SAFE, 35),
    "Google OAuth": lambda d: "ya" + "29." + d(URL_SAFE, 120),
    "Slack bot": lambda d: "xo" + "xb-" + d(string.digits, 12) + "-" + d(string.digits, 12) + "-" + d(ALNUM, 24),
    "Slack user": lambda d: "xo" + "xp-" + d(string.digits, 11) + "-" + d(string.digits, 11) + "-" + d(HEX, 32),
    "Slack webhook": lambda d: (
        "https://hooks.sl"
        + "ack.com/services/T"
        + d(string.ascii_uppercase, 8)
        + "/B"
        + d(ALNUM, 8)
        + "/"
        + d(ALNUM, 24)
    ),
    "Stripe live": lambda d: "s" + "k_live_" + d(ALNUM, 24),
    "Stripe restricted": lambda d: "r" + "k_live_" + d(ALNUM, 99),
    "Stripe webhook": lambda d: "wh" + "sec_" + d(ALNUM, 32),
    "SendGrid": lambda d: "S" + "G." + d(URL_SAFE, 22) + "." + d(URL_SAFE, 43),
    "npm": lambda d: "np" + "m_" + d(ALNUM, 36),
    "PyPI": lambda d: "py" + "pi-AgEIcHlwaS5vcmc" + d(URL_SAFE, 120),
    "GitLab": lambda d: "gl" + "pat-" + d(URL_SAFE, 20),
    "Telegram": lambda d: d("123456789", 10) + ":" + "AA" + d(URL_SAFE, 33),
    "Twilio": lambda d: "S" + "K" + d(HEX, 32),
    "JWT": lambda d: "ey" + "J" + d(ALNUM, 33) + ".ey" + "J" + d(URL_SAFE, 60) + "." + d(URL_SAFE, 43),
}
"""Keys that are told by their own form."""

PLACES: tuple[Callable[[str], Any], ...] = (
    lambda key: f"Use {key}, please.",
    lambda key: {"arguments": {"token": key}},
    lambda key: f'{{"key": "{key}"}}',
    lambda key: f"export KEY={key}\necho done",
)


def _in_context(d: Draw) -> Iterator[tuple[str, Any, str]]:
    """(kind, value, secret) of secrets that their surroundings tell."""
    for length, name in ((40, "aws_secret_access_key = "), (40, "Secret access key: ")):
        secret = d(B64, length)
        yield "AWS secret key", name + secret, secret
    secret = d(ALNUM, 40)
    yield "bearer", f"Authorization: Bearer {secret}", secret
    secret = d(ALNUM, 32)
    yield "bearer", {"headers": {"Authorization": f"Bearer {secret}"}}, secret
    secret = base64.b64encode(f"{d.word()}:{d(ALNUM, 12)}".encode()).decode()
    yield "basic", f'curl -H "Authorization: Basic {secret}" https://x.org', secret
    secret = d(ALNUM, 14)
    yield "password in a URL", f"postgres://app:{secret}@db.internal:5432/shop", secret
    secret = d(ALNUM, 10)
    yield "password in a URL", {"url": f"https://{d.word()}:{secret}@x.org/path?q=1"}, secret
    secret = d(HEX, 32)
    yield "query parameter", f"https://api.x.org/v1?q=oslo&api_key={secret}", secret
    secret = d(ALNUM, 24)
    yield "query parameter", {"url": f"https://api.x.org/v1?token={secret}&q=oslo"}, secret
    secret = "p" + d(ALNUM, 8) + "7x"
    yield "password", f"host=db user=app password={secret} port=5432", secret
    secret = "Q" + d(ALNUM, 10) + "!4z"
    yield "password", f"login: app\npasswd: {secret}\n", secret
    secret = "k" + d(ALNUM, 12) + "9Z#"
    yield "password", f"DB_PASSWORD={secret}", secret
    body = "\n".join(d(B64, 64) for _ in range(6))
    for kind in ("RSA ", "EC ", "OPENSSH ", ""):
        yield "PEM", f"-----BEGIN {kind}PRIVATE" + f" KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----\n", body[:64]
    secret = d(HEX, 32)
    yield "named", {"api_key": secret}, secret
    secret = d(ALNUM, 40)
    yield "named", f"search(q='x', client_secret='{secret}')", secret


def secrets(seed: int = 5) -> list[Sample]:
    """A hundred secrets."""
    d, samples = Draw(seed), []
    samples += [Sample(kind, value, secret) for kind, value, secret in _in_context(d)]
    for at in range(100 - len(samples)):
        kind = list(KEYS)[at % len(KEYS)]
        key = KEYS[kind](d)
        samples.append(Sample(kind, PLACES[(at + at // len(KEYS)) % len(PLACES)](key), key))
    return samples


LOOK_ALIKES: dict[str, Callable[[Draw], Any]] = {
    "page token": lambda d: {"nextPageToken": d(URL_SAFE, 40)},
    "token of a page": lambda d: {"token": d(URL_SAFE, 36), "page": 2},
    "cursor": lambda d: f"GET /items?limit=10&cursor={d(ALNUM, 32)}&page_token={d(ALNUM, 24)}",
    "next_token": lambda d: {"next_token": base64.b64encode(d(ALNUM, 24).encode()).decode()},
    "crypto address": lambda d: {"token": "0x" + d(HEX, 40)},
    "crypto in URL": lambda d: f"https://api.x.org/price?token=0x{d(HEX, 40)}&vs=usd",
    "Solana mint": lambda d: {"token": d("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", 44)},
    "file path": lambda d: {"private_key": f"/home/{d.word()}/.ssh/{d.word()}_{d('0123456789', 8)}/id_rsa.pem"},
    "uuid": lambda d: {"session_token": d.uuid(), "token": d.uuid()},
    "commit": lambda d: f"The commit {d(HEX, 40)} mentions api keys and secrets.",
    "digest": lambda d: f"sha256:{d(HEX, 64)}  {d.word()}.tar.gz",
    "session": lambda d: {"session_id": d(ALNUM, 32), "token": d(ALNUM, 18)},
    "placeholder": lambda d: {
        "api_key": d.random.choice(["YOUR_API_KEY", "<your key 1>", "***", "your-api-key-here-123"])
    },
    "prose": lambda d: f"password: at least 8 characters; token: the {d.word()} token; secret: none",
    "schema": lambda d: {"password": {"type": "string", "description": f"The password of the {d.word()}."}},
    "variable": lambda d: f"password=os.environ['{d.word().upper()}_PASSWORD'] api_key=settings.api_key",
    "model name": lambda d: f"sk-learn-{d.word()}-imbalanced-learning-examples and hf_hub_download_{d.word()}",
    "URL with port": lambda d: f"http://{d.word()}.org:8080/@{d.word()} and ssh://git@{d.word()}.org:22/x",
    "Basic words": lambda d: f"Basic {d.word()} rules; bearer {d.word()}; Basic understanding",
    "public key": lambda d: f"-----BEGIN PUBLIC KEY-----\n{d(B64, 64)}\n-----END PUBLIC KEY-----",
    "image": lambda d: f"data:image/png;base64,{d(B64, 200)}",
    "max tokens": lambda d: {"max_tokens": d.random.randrange(10**9), "tokens": d(string.digits, 30)},
    "order": lambda d: {"order_id": d(ALNUM, 24), "tracking": "1Z" + d(string.digits, 16)},
    "ARN": lambda d: f"arn:aws:iam::{d(string.digits, 12)}:user/{d.word()} AIDA{d(string.ascii_uppercase, 16)}",
    "csrf": lambda d: {"csrf_token": d(ALNUM, 32)},
}


def look_alikes(seed: int = 6) -> list[Sample]:
    """A hundred values that are no secrets."""
    d = Draw(seed)
    return [Sample(kind, LOOK_ALIKES[kind](d), None) for kind in (list(LOOK_ALIKES) * 4)[:100]]
