"""POST /v1/similar: the items that the users of an item enjoy."""

from __future__ import annotations

import math

import msgspec
from starlette.requests import Request as Call
from starlette.responses import Response

from karec.errors import Unavailable
from karec.serve import messages
from karec.serve.problems import ProblemError, unavailable
from karec.serve.recommend import cascade_of
from karec.serve.request_checks import check_bits, check_new_condition, check_where
from karec.serve.service import Service

SHORTFALL = "all others are blocked, have another model version, or do not satisfy the condition"
_REQUEST = msgspec.json.Decoder(messages.SimilarRequest)


async def similar(call: Call) -> Response:
    service: Service = call.app.state.service
    served = service.ready()
    body = await messages.read_body(call, served.settings.max_body_kb << 10)
    request = messages.decode(body, _REQUEST)
    if request.k > served.settings.max_k:
        raise ProblemError(422, f"k is {request.k}, expected at most {served.settings.max_k}", "k")
    check_bits(request.item_id, "item_id")
    service.recommend_queue.check(math.inf)
    scene = served.scene_of(request.scene)

    def find() -> bytes:
        cascade = cascade_of(served, scene)
        check_where(cascade, request.where)
        check_new_condition(served, cascade, request.where)
        try:
            found = served.hot_swap.similar(scene, request.item_id, request.k, request.where)
        except Unavailable as error:
            raise unavailable("the items are not available", error) from error
        except ValueError as error:
            raise ProblemError(422, str(error)[:200], "item_id") from None
        items = [messages.Scored(item, score) for item, score in found]
        shortfall = None if len(items) == request.k else f"{len(items)} of {request.k} items: {SHORTFALL}"
        return messages.encode(messages.SimilarResponse(request.item_id, items, shortfall))

    return Response(await service.recommend_queue.run(find), media_type="application/json")
