"""The specification at /openapi.json, generated from the types of `karec.serve.messages`."""

from __future__ import annotations

from typing import Any

import msgspec

import karec
from karec.serve import messages
from karec.serve.problems import Problem

POSTS: dict[str, tuple[str, tuple[type, ...], tuple[type, ...]]] = {  # path: summary, bodies, responses
    "/v1/recommend": (
        "A page for one user, or a batch of pages.",
        (messages.PageRequest, messages.BatchRequest),
        (messages.PageResponse, messages.BatchResponse),
    ),
    "/v1/rank": (
        "The caller's items, in the order of the ranker and of the stages after it.",
        (messages.RankRequest,),
        (messages.RankResponse,),
    ),
    "/v1/similar": (
        "The items that the users of an item enjoy.",
        (messages.SimilarRequest,),
        (messages.SimilarResponse,),
    ),
    "/v1/events": (
        "Stores events of users. The next request reads them.",
        (messages.UserEvents,),
        (messages.Recorded,),
    ),
    "/v1/items": (
        "Stores uploads, edits, deletions, blocks and adjustments.",
        (messages.ItemEvents,),
        (messages.Recorded,),
    ),
}
GETS = {
    "/v1/users/{id}": "The newest values of a user.",
    "/v1/items/{id}": "The newest values of an item.",
    "/v1/status": "Versions, scenes, steps and queues of one worker.",
    "/healthz": "The process responds and no thread is blocked.",
    "/readyz": "200 if the bundle is open, smoke requests ran and the online store was read.",
    "/version": "Versions of karec and of the bundle in service.",
}
PROBLEM_TEXT = (
    "A problem. 422: `field` is wrong. 503: `Retry-After` is in seconds. docs/serving.md lists all."
)
ROWS = {"UserEvents": ("events", messages.UserEvent), "ItemEvents": ("items", messages.ItemEvent)}


def openapi() -> bytes:
    bodies = [body for _, requests, responses in POSTS.values() for body in (*requests, *responses)]
    types = [Problem, messages.UserEvent, messages.ItemEvent, *dict.fromkeys(bodies)]
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    for name, (field, row) in ROWS.items():  # the service checks rows one by one
        schemas[name]["properties"][field]["items"] = _schema((row,))
    schemas["Problem"]["properties"]["status"] |= {"minimum": 400, "maximum": 599}
    paths: dict[str, dict[str, Any]] = {}
    for path, (summary, requests, responses) in POSTS.items():
        body = {"required": True, "content": {"application/json": {"schema": _schema(requests)}}}
        answers = {"200": _response(summary, _schema(responses)), "default": _problem()}
        paths[path] = {"post": {"summary": summary, "requestBody": body, "responses": answers}}
    for path, summary in GETS.items():
        answers = {"200": _response(summary, {"type": "object"}), "default": _problem()}
        operation: dict[str, Any] = {"summary": summary, "responses": answers}
        if "{id}" in path:
            operation["parameters"] = [
                {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
                {"name": "scene", "in": "query", "required": False, "schema": {"type": "string"}},
            ]
        paths.setdefault(path, {})["get"] = operation
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "karec",
                "version": karec.__version__,
                "description": "A recommendation cascade.",
            },
            "paths": paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            },
            "security": [{}, {"token": []}],
        }
    )


def _schema(types: tuple[type, ...]) -> dict[str, Any]:
    references = [{"$ref": f"#/components/schemas/{type_.__name__}"} for type_ in types]
    return references[0] if len(references) == 1 else {"oneOf": references}


def _response(summary: str, schema: dict[str, Any], media_type: str = "application/json") -> dict[str, Any]:
    return {"description": summary, "content": {media_type: {"schema": schema}}}


def _problem() -> dict[str, Any]:
    return _response(PROBLEM_TEXT, _schema((Problem,)), "application/problem+json")
