"""/openapi.json, from the types of ``karec.serve.wire``."""

from __future__ import annotations

from typing import Any

import msgspec

import karec
from karec.serve import wire

POSTS = {  # path: (what it does, body, answer)
    "/v1/recommend": (
        "A feed for one user, or for a batch.",
        (wire.Asked, wire.Batch),
        (wire.Answer, wire.Answers),
    ),
    "/v1/try": (
        "A feed with other settings of the scene's steps; where the page is on.",
        (wire.Trial,),
        (wire.Tried,),
    ),
    "/v1/events": ("What users did; the next request knows it.", (wire.Events,), (wire.Recorded,)),
    "/v1/works": (
        "Uploads, edits, deletions, blocks, adjustments of scores.",
        (wire.Works,),
        (wire.Recorded,),
    ),
}
GETS = {  # path: (what it tells, the kind of its answer)
    "/v1/users/{id}": ("What is known of a user.", "application/json"),
    "/v1/works/{id}": ("What is known of a work.", "application/json"),
    "/v1/try": ("Scenes, their steps and what of them can be tried.", "application/json"),
    "/v1/status": ("Workers, versions, admission, scenes and their steps.", "application/json"),
    "/healthz": ("The process lives.", "application/json"),
    "/readyz": ("200 once sampled requests have run; 503 while it starts or ends.", "application/json"),
    "/metrics": ("Prometheus' text format, of all workers.", "text/plain"),
    "/version": ("Versions of karec and of the bundle in service.", "application/json"),
}
REFUSALS = {
    "400": "The body is no JSON.",
    "401": "No token, or not one of this call's.",
    "408": "The body did not come in time.",
    "409": "karec.toml has no table [live].",
    "413": "The body is too long.",
    "415": "The body is not application/json.",
    "422": "A field is wrong: `field` names it.",
    "503": "Refused at once, since it would wait too long; or the service starts or ends. `Retry-After` says "
    "when.",
}
ROWS = {"Events": ("events", wire.Event), "Works": ("works", wire.Work)}


def openapi() -> dict[str, Any]:
    types: list[Any] = [wire.Problem, *(row for _, row in ROWS.values())]
    types += {each for _, bodies, answers in POSTS.values() for each in (*bodies, *answers)}
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    for name, (field, row) in ROWS.items():  # rows are looked at one by one, and refused one by one
        schemas[name]["properties"][field]["items"] = _ref(row)
    paths: dict[str, Any] = {}
    for path, (what, bodies, answers) in POSTS.items():
        paths[path] = {
            "post": {
                "summary": what,
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": _one_of(bodies)}},
                },
                "responses": {"200": _response(what, _one_of(answers)), **_refusals(path)},
            }
        }
    for path, (what, kind) in GETS.items():
        schema = {"type": "string"} if kind == "text/plain" else {"type": "object"}
        paths.setdefault(path, {})["get"] = {
            "summary": what,
            "responses": {"200": _response(what, schema, kind)},
        }
    for path in ("/v1/users/{id}", "/v1/works/{id}"):
        paths[path]["get"]["parameters"] = [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
            {"name": "scene", "in": "query", "required": False, "schema": {"type": "string"}},
        ]
        paths[path]["get"]["responses"] |= {
            code: _refusal(REFUSALS.get(code, "No such work.")) for code in ("401", "422", "503", "404")
        }
    paths["/readyz"]["get"]["responses"]["503"] = _refusal("It starts or ends.")
    schemas["Problem"]["properties"]["status"] |= {"minimum": 400, "maximum": 599}
    return {
        "openapi": "3.1.0",
        "info": {"title": "karec", "version": karec.__version__, "description": "A recommendation cascade."},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _ref(cls: type[Any]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{cls.__name__}"}


def _one_of(classes: tuple[type[Any], ...]) -> dict[str, Any]:
    return _ref(classes[0]) if len(classes) == 1 else {"oneOf": [_ref(each) for each in classes]}


def _response(what: str, schema: dict[str, Any], kind: str = "application/json") -> dict[str, Any]:
    return {"description": what, "content": {kind: {"schema": schema}}}


def _refusal(what: str) -> dict[str, Any]:
    return _response(what, _ref(wire.Problem), "application/problem+json")


def _refusals(path: str) -> dict[str, Any]:
    return {
        code: _refusal(what) for code, what in REFUSALS.items() if code != "409" or path != "/v1/recommend"
    }
