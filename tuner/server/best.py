"""The API's answer: the best λ of a study in any form that `tuner export` writes."""

import hashlib
import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response

from tuner.answer.best import Rule
from tuner.answer.document import Document
from tuner.answer.export import check_form, render
from tuner.answer.frameworks import Optimizer
from tuner.server.api import Shared, StudyName, Viewer, problems

router = APIRouter(prefix="/v1/studies", tags=["best"])

Format = Literal["json", "yaml", "toml", "env", "python", "torch", "keras", "optax", "sklearn"]

_PYTHON = "text/x-python; charset=utf-8"
MEDIA_TYPES = {
    "json": "application/json",
    "yaml": "application/yaml",
    "toml": "application/toml",
    "env": "text/plain; charset=utf-8",
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer.",
        "content": {
            "application/json": {"schema": {"type": "object"}},
            **{
                media_type.partition(";")[0]: {"schema": {"type": "string"}}
                for media_type in (*list(MEDIA_TYPES.values())[1:], _PYTHON)
            },
        },
    },
    304: {"description": "It is the one that If-None-Match names."},
}


@router.get(
    "/{name:path}/best",
    response_class=Response,
    responses={**problems(404, 409), **_RESPONSES},
)
async def show_best(  # noqa: PLR0913, PLR0917 (the query's parameters)
    name: StudyName,
    api: Shared,
    _who: Viewer,
    rule: Annotated[
        Rule | None, Query(description="Default: 1se once fresh seeds have spoken, else best.")
    ] = None,
    format: Annotated[Format, Query()] = "json",  # noqa: A002 (the query's name)
    optimizer: Annotated[
        Optimizer | None, Query(description="Of the lines for a framework; default sgd.")
    ] = None,
    force: Annotated[  # noqa: FBT002 (a query's flag)
        bool, Query(description="Write lines that change what λ means, with a warning.")
    ] = False,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Return the best λ and what it means, as `tuner export` does; nothing is recorded.

    409 as long as there is no answer: no complete trial, or for rules min and 1se no confirmation.
    """
    check_form(format, optimizer, force=force)

    def load() -> tuple[str, str]:
        document = api.catalog.load_answer(name, rule)
        text = render(document, format, optimizer, force=force)
        return text, _tag(document, format, optimizer, force=force)

    key = (name, "best", str(rule), format, str(optimizer), str(force))
    text, tag = await api.answers.get(key, load)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if if_none_match is not None and _matches(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    return Response(text, media_type=MEDIA_TYPES.get(format, _PYTHON), headers=headers)


def _tag(document: Document, format_name: str, optimizer: str | None, *, force: bool) -> str:
    """Return a weak tag: equal for answers that differ in nothing but when they were asked for."""
    provenance = {k: v for k, v in document["provenance"].items() if k != "exported_at"}
    said = [{**document, "provenance": provenance}, format_name, optimizer, force]
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    return f'W/"{digest[:32]}"'


def _matches(if_none_match: str, tag: str) -> bool:
    """Compare weakly, as RFC 9110 wants it for If-None-Match."""
    given = {part.strip().removeprefix("W/") for part in if_none_match.split(",")}
    return "*" in given or tag.removeprefix("W/") in given
