"""The options of the commands that serve pages, and of those on who may see them."""

from typing import Annotated

import typer

from tuner.options import option, parse_duration

Host = Annotated[
    str,
    option(
        "--host", "Address to listen on; others than loopback let others read.", metavar="ADDRESS"
    ),
]
Port = Annotated[int, option("--port", "Port to listen on.", metavar="N", min=0, max=65535)]
Writable = Annotated[
    bool, option("--writable", "Let everybody who reaches the dashboard change studies.")
]
TrustedProxies = Annotated[
    list[str] | None,
    option(
        "--trusted-proxy",
        "Address or network of a proxy whose X-Forwarded-For and -Proto are believed; repeatable.",
        metavar="ADDRESS",
        show_default="none",
    ),
]
RoleName = Annotated[
    str, option("--role", "viewer reads, operator runs studies, admin all.", metavar="NAME")
]
PasswordStdin = Annotated[
    bool, option("--password-stdin", "Read the password from stdin instead of asking for it.")
]
Expires = Annotated[
    float | None,
    option(
        "--expires",
        "How long the token is good for, e.g. 12h or 30d.",
        metavar="DURATION",
        parser=parse_duration,
        show_default="never",
    ),
]
TokenName = Annotated[
    str,
    typer.Option(
        "--name",
        envvar="TUNER_TOKEN_NAME",
        help="What the token is for.",
        metavar="NAME",
        show_default="none",
    ),
]
