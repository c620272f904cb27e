"""The commands on tokens, which let programs use the service: `tuner token create`, `list`, ...

A part of the command line: prints, and leaves exit statuses of errors to `tuner.cli`.
"""

from collections.abc import Mapping
from typing import Annotated

import typer

from tuner.commands import options, service_options
from tuner.commands.users import close_before_first_account, moment, parse_role, record
from tuner.plain import show
from tuner.strict_json import to_json

token_app = typer.Typer(
    help="Tokens with which programs use the service.",
    epilog="Example: tuner token create --role viewer --expires 30d",
    no_args_is_help=True,
)

Number = Annotated[int, typer.Argument(help="Number, as `tuner token list` shows.", metavar="N")]


@token_app.command(epilog="Example: tuner token create --role operator --expires 30d --name ci")
@options.with_storage
def create(
    storage: str,
    role: service_options.RoleName = "viewer",
    expires: service_options.Expires = None,
    name: service_options.TokenName = "",
    as_json: options.Json = False,
) -> None:
    """Make a token and show it, this once: send it as `Authorization: Bearer TOKEN`."""
    from storage import create_storage, create_token

    parsed = parse_role(role)
    engine = create_storage(storage).engine
    close_before_first_account(engine)
    number, secret = create_token(engine, parsed, name=name, lifetime_seconds=expires)
    record(engine, f"token create {number} --role {parsed}")
    if as_json:
        document = {"id": number, "name": name, "role": parsed, "token": secret}
        print(to_json(document | {"expires_seconds": expires}, indent=None))
    else:
        print(secret)


@token_app.command("list", epilog="Example: tuner token list")
@options.with_storage
def list_(storage: str, as_json: options.Json = False) -> None:
    """Show all tokens: what they are for, whether they are valid, when they were last used (to
    the hour); never themselves.
    """
    from storage import list_tokens, open_storage

    rows = [
        {
            "id": token.token_id,
            "name": token.name,
            "role": token.role,
            "is_valid": token.is_valid,
            "created_at": moment(token.created_at),
            "expires_at": None if token.expires_at is None else moment(token.expires_at),
            "revoked_at": None if token.revoked_at is None else moment(token.revoked_at),
            "used_at": None if token.used_at is None else moment(token.used_at),
        }
        for token in list_tokens(open_storage(storage, read_only=True).engine)
    ]
    if as_json:
        print(to_json(rows))
    elif not rows:
        print("There is no token: `tuner token create` makes one")
    else:
        for row in rows:
            used = f"last used {row['used_at']}" if row["used_at"] else "never used"
            who = f"{row['id']:>4}  {row['name'] or '-':<20} {row['role']:<9}"
            show(f"{who} {_tell(row)}, {used}")


def _tell(row: Mapping[str, object]) -> str:
    if row["revoked_at"]:
        return f"revoked {row['revoked_at']}"
    if not row["is_valid"]:
        return f"expired {row['expires_at']}"
    return f"valid until {row['expires_at'] or 'revoked'}"


@token_app.command(epilog="Example: tuner token revoke 3")
@options.with_storage
def revoke(number: Number, storage: str, as_json: options.Json = False) -> None:
    """End a token for good, at once."""
    from storage import open_storage, revoke_token

    engine = open_storage(storage).engine
    revoke_token(engine, number)
    record(engine, f"token revoke {number}")
    revoked = {"id": number, "revoked": True}
    print(to_json(revoked, indent=None) if as_json else f"Token {number} is revoked")
