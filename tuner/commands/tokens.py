"""The commands on tokens, which let programs use the service: `tuner token create`, `list`, ..."""

from collections.abc import Mapping
from typing import Annotated

import typer

from tuner.commands.options import Json, with_storage
from tuner.commands.printing import tell
from tuner.commands.service_options import Expires, RoleName, TokenName
from tuner.commands.users import as_rows, open_for_account, parse_role, record

token_app = typer.Typer(
    help="Tokens with which programs use the service.",
    epilog="Example: tuner token create --role viewer --expires 30d",
    no_args_is_help=True,
)

Number = Annotated[int, typer.Argument(help="Number, as `tuner token list` shows.", metavar="N")]


@token_app.command(epilog="Example: tuner token create --role operator --expires 30d --name ci")
@with_storage
def create(
    storage: str,
    role: RoleName = "viewer",
    expires: Expires = None,
    name: TokenName = "",
    as_json: Json = False,
) -> None:
    """Make a token and show it, this once: send it as `Authorization: Bearer TOKEN`."""
    from storage import create_token

    parsed = parse_role(role)
    engine = open_for_account(storage)
    number, secret = create_token(engine, parsed, name=name, lifetime_seconds=expires)
    record(engine, f"token create {number} --role {role}")
    document = {"id": number, "name": name, "role": role, "token": secret}
    tell(document | {"expires_seconds": expires}, secret, as_json=as_json, indent=None)


@token_app.command("list", epilog="Example: tuner token list")
@with_storage
def list_(storage: str, as_json: Json = False) -> None:
    """Show all tokens: what they are for, whether they are valid, when they were last used (to
    the hour); never themselves.
    """
    from storage import list_tokens, open_storage

    kept = as_rows(list_tokens(open_storage(storage, read_only=True).engine))
    rows = [{"id": row.pop("token_id"), **row} for row in kept]
    lines = [_line(row) for row in rows]
    tell(rows, *(lines or ["There is no token: `tuner token create` makes one"]), as_json=as_json)


def _line(row: Mapping[str, object]) -> str:
    used = f"last used {row['used_at']}" if row["used_at"] else "never used"
    state = f"valid until {row['expires_at'] or 'revoked'}"
    if row["revoked_at"]:
        state = f"revoked {row['revoked_at']}"
    elif not row["is_valid"]:
        state = f"expired {row['expires_at']}"
    return f"{row['id']:>4}  {row['name'] or '-':<20} {row['role']:<9} {state}, {used}"


@token_app.command(epilog="Example: tuner token revoke 3")
@with_storage
def revoke(number: Number, storage: str, as_json: Json = False) -> None:
    """End a token for good, at once."""
    from storage import open_storage, revoke_token

    engine = open_storage(storage).engine
    revoke_token(engine, number)
    record(engine, f"token revoke {number}")
    document = {"id": number, "revoked": True}
    tell(document, f"Token {number} is revoked", as_json=as_json, indent=None)
