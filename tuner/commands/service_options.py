"""The options of the commands that serve pages, of those on who may see them, of those who ask a
service, and of workers that take whatever is submitted to one.
"""

from pathlib import Path
from typing import Annotated

import typer

from tuner.commands.options import DEFAULT_STUDY, option, parse_duration

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
RootPath = Annotated[
    str,
    option(
        "--root-path",
        "Path of its host below which a proxy shows the service, e.g. /tuner.",
        metavar="PATH",
        show_default="none",
    ),
]
AllowObjectives = Annotated[
    list[str] | None,
    option(
        "--allow-objective",
        "Module whose functions studies may name as objectives; may be repeated.",
        metavar="MODULE",
        show_default="none",
    ),
]
ExitWhenIdle = Annotated[
    bool, option("--exit-when-idle", "Without --study: end when no study is open.")
]
# For a worker: without it, all open studies.
AnyStudyName = Annotated[
    str | None,
    option(
        "--study",
        "Name of the study.",
        metavar="NAME",
        show_default=f"{DEFAULT_STUDY}; of worker: any open study",
    ),
]
# Of all commands that can do without a storage: they stand before the command.
Server = Annotated[
    str | None,
    option(
        "--server",
        "Before the command: ask this `tuner serve`, not a storage.",
        metavar="URL",
        show_default="none",
    ),
]
Token = Annotated[
    str | None,
    option(
        "--token",
        "Token for --server; others on this machine can see it, so rather use the variable.",
        metavar="TOKEN",
        show_default="none",
    ),
]
TokenFile = Annotated[
    Path | None,
    option("--token-file", "File with the token.", metavar="FILE", show_default="none"),
]
Insecure = Annotated[
    bool, option("--insecure", "Send the token without TLS, also to other machines.")
]
RoleName = Annotated[
    str, option("--role", "viewer reads, operator runs studies, admin all.", metavar="NAME")
]
PasswordStdin = Annotated[
    bool, option("--password-stdin", "Read the password from stdin instead of asking for it.")
]
LogLimit = Annotated[int, option("--limit", "How many entries to show.", metavar="N", min=1)]
DeleteOlder = Annotated[
    float | None,
    option(
        "--delete-older",
        "First delete the entries that are older, e.g. 400d.",
        metavar="DURATION",
        parser=parse_duration,
        show_default="none",
        has_variable=False,  # a variable would make every look at the log a deletion
    ),
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
