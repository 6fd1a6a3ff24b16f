"""The REST endpoint: POST /api/segment, GET /api/answers and /api/health, described by OpenAPI."""

import base64
from typing import Annotated, Any, Literal

from fastapi import FastAPI, File, Form, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from stseg.tools.serving.body_limit import BodyLimit
from stseg.tools.serving.picture_service import FILES, Asked, PictureService
from stseg.tools.serving.request_limits import RefusedError
from stseg.tools.serving.waiting_line import WaitingLine
from stseg.utils import VERSION

_ABOUT = "Open-vocabulary semantic segmentation: a picture, any words, one of them for each pixel."
_EXAMPLE = "curl -F image=@photo.jpg -F 'words=cat, kitten; sofa' http://127.0.0.1:7860/api/segment"


class ClassRow(BaseModel):
    """A class: shares are of the whole picture, in [0, 1]; no pixel, no confidence."""

    id: int
    name: str
    colour: str
    pixels: int
    area_share: float
    mean_confidence: float | None


class SegmentReply(BaseModel):
    """How to read the label PNG, and what was found; sizes in pixels."""

    width: int
    height: int
    label_bits: int
    unknown_value: int
    unknown_share: float
    classes: list[ClassRow]
    notes: list[str]
    answer: str
    labels_png: str


class HealthReply(BaseModel):
    """That the server answers, and how many requests are served or wait."""

    status: str
    version: str
    inside: int
    queue: int


class ErrorReply(BaseModel):
    """What is wrong with a request: the name, the rule, the value and the cure."""

    error: str


_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply, "description": why}
    for status, why in (
        (413, "too large: bytes or pixels"),
        (415, "no picture of a kind that is read"),
        (422, "words or options are faulty"),
        (503, "so many wait already; Retry-After says when to come back"),
    )
}


def build_api(service: PictureService, line: WaitingLine) -> FastAPI:
    """The application; its OpenAPI is at /openapi.json, a page about it at /docs.

    Args:
        service: that answers.
        line: in which requests wait for it.
    """
    app = FastAPI(title="stseg", version=VERSION, description=f"{_ABOUT}\n\n    {_EXAMPLE}")
    app.add_middleware(BodyLimit, max_bytes=service.limits.max_body)
    _explain_errors(app)
    _add_segment(app, service, line)

    @app.get(
        "/api/answers/{key}/{name}", responses={404: {"model": ErrorReply}, 503: _REFUSALS[503]}
    )
    async def answer_file(
        key: str, name: Literal["labels.png", "overlay.png", "answer.json"]
    ) -> Response:
        """A file of an earlier answer, while its picture is among those that are kept."""
        content = await line.turn(lambda: service.again(key).file(name))
        return _download(content, name)

    @app.get("/api/health")
    async def health() -> HealthReply:
        """Whether the server answers."""
        return HealthReply(status="ok", version=VERSION, inside=line.inside, queue=line.length)

    return app


def _add_segment(app: FastAPI, service: PictureService, line: WaitingLine) -> None:
    @app.post(
        "/api/segment",
        response_model=SegmentReply,
        responses={**_REFUSALS, 200: {"content": {"image/png": {}}}},
    )
    async def segment(
        image: Annotated[UploadFile, File(description="the picture")],
        words: Annotated[str, Form(description="classes parted by ';', synonyms by ','")],
        threshold: Annotated[
            float, Form(description="pixels of less confidence, in [0, 1], become unknown")
        ] = 0.0,
        distractors: Annotated[
            str, Form(description="words that compete; pixels they win become unknown")
        ] = "",
        reply: Annotated[
            Literal["json", "labels", "overlay"],
            Form(description="JSON with the labels in it, or one picture as image/png"),
        ] = "json",
    ) -> Any:
        """Segment a picture with any words."""
        content = await image.read()
        asked = Asked.read(words, threshold, distractors, service.limits)

        def work() -> Any:
            answer = service.segment(content, asked)
            if reply != "json":
                return answer.file(f"{reply}.png")
            labels = base64.b64encode(answer.file("labels.png")).decode("ascii")
            own = {"notes": list(answer.notes), "answer": answer.key, "labels_png": labels}
            return {**answer.table(), **own}

        done = await line.turn(work)
        return _download(done, f"{reply}.png") if isinstance(done, bytes) else done


def _download(content: bytes, name: str) -> Response:
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    return Response(content, media_type=FILES[name], headers=headers)


def _explain_errors(app: FastAPI) -> None:
    """Every error is {"error": text}, and a trace stands in the server's log alone."""

    async def refused(_: Request, error: Any) -> JSONResponse:
        headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
        return JSONResponse({"error": str(error)}, error.status, headers)

    async def faulty(_: Request, error: Any) -> JSONResponse:
        first = error.errors()[0]
        name, value = first["loc"][-1], first.get("input")
        got = "none" if first["type"] == "missing" else repr(value)[:80]
        text = f"{name}: expected what /docs says ({first['msg']}), got {got}."
        return JSONResponse({"error": str(RefusedError(text))}, 422)

    async def other(_: Request, error: Any) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    async def fault(_: Request, error: Exception) -> JSONResponse:
        text = "Server: expected an answer, got a fault of the program. Its log tells more."
        return JSONResponse({"error": text}, 500)

    app.add_exception_handler(RefusedError, refused)
    app.add_exception_handler(RequestValidationError, faulty)
    app.add_exception_handler(HTTPException, other)
    app.add_exception_handler(Exception, fault)
