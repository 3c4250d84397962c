"""POST /v1/similar: the items that the users of an item enjoy."""

from __future__ import annotations

import math

import msgspec
from starlette.requests import Request as Call
from starlette.responses import Response

from karec.serve import messages
from karec.serve.problems import ProblemError
from karec.serve.recommend import cascade_of
from karec.serve.service import Service

_REQUEST = msgspec.json.Decoder(messages.SimilarRequest)


async def similar(call: Call) -> Response:
    service: Service = call.app.state.service
    served = service.ready()
    body = await messages.read_body(call, served.settings.max_body_kb << 10)
    request = messages.decode(body, _REQUEST)
    if request.k > served.settings.max_k:
        raise ProblemError(422, f"k is {request.k}, expected at most {served.settings.max_k}", "k")
    service.recommend_queue.check(math.inf)
    cascade = cascade_of(served, served.scene_of(request.scene))
    if request.where is not None:
        try:
            cascade.check_where(request.where)
        except ValueError as error:
            raise ProblemError(422, str(error), "where") from None

    def find() -> bytes:
        try:
            found = cascade.similar(request.item_id, request.k, where=request.where)
        except (ValueError, TypeError, OverflowError) as error:
            raise ProblemError(422, str(error)[:200], "item_id") from None
        items = [messages.Scored(item, score) for item, score in found]
        return messages.encode(messages.SimilarResponse(request.item_id, items))

    return Response(await service.recommend_queue.run(find), media_type="application/json")
