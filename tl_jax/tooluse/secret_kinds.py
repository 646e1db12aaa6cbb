"""The kinds of secrets: what keys look like, and what tells a password or a key without a form of its own."""

from __future__ import annotations

import re
from typing import NamedTuple

from tl_jax.registry import Registry


class SecretKind(NamedTuple):
    """Keys of one service, told by their form alone."""

    name: str
    begins: str
    pattern: str


_RANDOM = r"(?=[\w-]*[0-9A-Z])[\w-]{20,}"

KINDS = Registry(
    "kind of secret",
    (
        SecretKind("AWS", "`AKIA`, `ASIA`", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}"),
        SecretKind(
            "GitHub", "`ghp_`, `gho_`, `ghu_`, `ghs_`, `ghr_`, `github_pat_`", r"gh[pousr]_\w{36,}|github_pat_\w{22,}"
        ),
        SecretKind("GitLab", "`glpat-` and others", r"gl(?:pat|dt|rt|ptt|soat|ft|imt|agent|cbt|oas)-[\w-]{20,}"),
        SecretKind(
            "OpenAI, OpenRouter and others",
            "`sk-`, `sk-proj-`, `sk-svcacct-`, `sk-admin-`, `sk-or-v1-`",
            rf"sk-(?:proj|svcacct|admin|None|or-v\d|lf)-{_RANDOM}|sk-(?:[a-z]+-)?(?=\w*\d)\w{{20,}}[\w-]*",
        ),
        SecretKind("Anthropic", "`sk-ant-`", rf"sk-ant-(?:[a-z]{{3,6}}\d\d-)?{_RANDOM}"),
        SecretKind("Hugging Face", "`hf_`", r"(?:hf_|api_org_)[A-Za-z0-9]{30,}"),
        SecretKind(
            "Google",
            "`AIza`, `ya29.`, `GOCSPX-`, `1//0`",
            r"AIza[\w-]{35}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}|1//0[\w-]{30,}",
        ),
        SecretKind(
            "Slack",
            "`xoxb-`, `xoxp-` and others, `xapp-`, webhooks",
            r"xox[abceoprs]-(?=[\w-]*\d)[\w-]{15,}|xapp-\d-[\w-]{20,}|"
            r"https://hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/[\w/-]{20,}",
        ),
        SecretKind(
            "Discord",
            "bot tokens, webhooks",
            r"[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,}|https://discord(?:app)?\.com/api/webhooks/\d{10,}/[\w-]{30,}",
        ),
        SecretKind(
            "Stripe",
            "`sk_live_`, `rk_live_`, `pk_live_`, the same with `test`, `whsec_`",
            r"[srp]k_(?:live|test)_\w{16,}|whsec_[\w+/=]{24,}",
        ),
        SecretKind("SendGrid", "`SG.`", r"SG\.[\w-]{16,}\.[\w-]{16,}"),
        SecretKind("Mailgun, Mailchimp", "`key-`, `-us1`", r"key-[0-9a-f]{32}|[0-9a-f]{32}-us\d{1,2}"),
        SecretKind(
            "npm, PyPI, RubyGems",
            "`npm_`, `pypi-`, `rubygems_`",
            r"npm_[A-Za-z0-9]{36}|pypi-[\w-]{50,}|rubygems_[0-9a-f]{48}",
        ),
        SecretKind("Telegram", "`123456789:AA`", r"\d{8,10}:AA[\w-]{33}"),
        SecretKind("Twilio", "`SK`", r"SK[0-9a-f]{32}"),
        SecretKind("Shopify", "`shpat_` and others", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
        SecretKind(
            "DigitalOcean, Docker, Databricks",
            "`dop_v1_`, `dckr_pat_`, `dapi`",
            r"do[opr]_v1_[0-9a-f]{64}|dckr_pat_[\w-]{20,}|dapi[0-9a-f]{32}",
        ),
        SecretKind(
            "Groq, xAI, Replicate, Perplexity, NVIDIA, Tavily",
            "`gsk_`, `xai-`, `r8_`, `pplx-`, `nvapi-`, `tvly-`",
            r"gsk_\w{40,}|xai-\w{60,}|r8_\w{37,}|pplx-\w{40,}|nvapi-[\w-]{40,}|tvly-(?=[\w-]*\d)[\w-]{20,}",
        ),
        SecretKind(
            "Notion, Linear, Figma, Postman, Grafana, Vault",
            "`ntn_`, `secret_`, `lin_api_`, `figd_`, `PMAK-`, `glsa_`, `hvs.`",
            r"ntn_\w{40,}|secret_[A-Za-z0-9]{43}|lin_api_\w{32,}|figd_[\w-]{30,}|PMAK-[0-9a-f-]{50,}|gl(?:sa|c)_[\w=]{32,}|"
            r"hvs\.[\w-]{24,}",
        ),
        SecretKind("JSON web tokens", "`eyJ`", r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
    ),
    columns={"service": lambda kind: kind.name, "begins with": lambda kind: kind.begins},
)
"""Keys that are told by their own form; a new service is one record."""

FORM = re.compile(r"(?:(?<![\w-])|(?<=\\[nrt]))(?:" + "|".join(KINDS[name].pattern for name in KINDS) + r")(?![\w-])")

# What follows is told by its surroundings. Each pattern has the groups `before` and `value`.

_BODY = r"(?:[^-]|-(?!----))"
PRIVATE_KEY = re.compile(
    r"(?P<before>)(?P<value>-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?:"
    rf"{_BODY}*+-----END [A-Z0-9 ]{{0,30}}PRIVATE KEY(?: BLOCK)?-----|"
    r"(?:\s|\\[nr])*+[A-Za-z0-9+/=]{40,}+(?:(?:\s|\\[nr])++[A-Za-z0-9+/=]{20,}+)*+))"
)
"""A whole PEM block; one that is cut off, as far as it goes."""
URL_PASSWORD = re.compile(
    r"(?P<before>\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"'<>*\\?#]{0,64}:)(?P<value>[^\s/@\"'<>{}*\\]{1,128})(?=@[\w\[])",
    re.IGNORECASE,
)
_QUOTES = r"\\*[\"']?"
BEARER = re.compile(r"(?P<before>\bbearer\s{1,3})(?P<value>[\w+/=.~-]{16,})", re.IGNORECASE)
BASIC = re.compile(r"(?P<before>\bbasic\s{1,3})(?P<value>[A-Za-z0-9+/]{8,}={0,2})(?![\w+/=])", re.IGNORECASE)
_PASSWORD = "(?:password|passwd|pwd|passphrase)"
PASSWORD = re.compile(
    rf"(?P<before>(?:(?<![A-Za-z0-9]){_PASSWORD}{_QUOTES}\s{{0,3}}=\s{{0,3}}|(?<![A-Za-z0-9])(?:passwd|pwd):\s{{0,3}}|"
    rf"(?-i:[A-Z]_PASSWORD):\s{{0,3}}|^[\s-]{{0,20}}(?:\w{{1,30}}[_-])?{_PASSWORD}:[ \t]{{0,3}})(?P<quote>{_QUOTES}))"
    r"(?P<value>[^\s\"'&,;<>(){}\[\]*\\]{6,128})",
    re.IGNORECASE | re.MULTILINE,
)
"""As settings are written. A field or argument called password is none: calls that log in are about it, and so is what
the user and the tool say of it."""
KEY_NAME = (
    r"(?:api|access|secret|private|subscription|auth|app|application|client|license|encryption|signing|account)"
    r"[_ -]?(?:key|secret)|secret[_ -]?access[_ -]?key"
)
TOKEN_NAME = r"(?:access|auth|api|bearer|refresh|oauth|personal[_-]?access)[_-]?token|secret|app[_-]?id|authorization"
VALUE = r"[\w+/=.~-]+"
NAMED = re.compile(
    rf"(?P<before>(?<![\w-])(?:[A-Za-z0-9]+[_-]){{0,5}}[A-Za-z0-9]{{0,20}}?(?P<name>{KEY_NAME}|{TOKEN_NAME})"
    rf"(?:{_QUOTES}\s{{0,3}}(?:=>|[:=])\s{{0,3}}{_QUOTES}|\s{{1,3}}is\s{{1,3}}))(?P<value>{VALUE})",
    re.IGNORECASE,
)
QUERY = re.compile(
    r"(?P<before>[?&](?:token|key|sig|signature|auth|(?:x-)?api[_-]?key|(?:access|auth|api)[_-]?token|client_secret|"
    r"secret|app_?id|subscription-key|password|passwd|pwd)=)(?P<value>[\w+/=.~%-]{12,})",
    re.IGNORECASE,
)
