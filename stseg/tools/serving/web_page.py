"""The page: a picture, words, and what was found, with the class under the cursor. In Gradio."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from stseg.render import UNKNOWN_COLOUR, Figure, image_bytes, labels_at_size, render_page
from stseg.tools.serving.picture_service import FILES, Answer, Asked, PictureService
from stseg.tools.serving.request_limits import RefusedError
from stseg.tools.serving.waiting_line import WaitingLine
from stseg.utils import ASSETS

if TYPE_CHECKING:
    from fastapi import FastAPI

#: Of the picture on the page; downloads have its own size.
_SIDE = 1024
#: Seconds: how often uploads are looked through, and how old they become.
_SWEEPS = (600, 3600)
#: What Gradio calls the folder of an upload: the hash of the file.
_UPLOAD_FOLDER = re.compile(r"[0-9a-f]{64}")
#: What a browser's templates could take for code; as entities they are text, and nothing else.
_AS_TEXT = str.maketrans({sign: f"&#{ord(sign)};" for sign in "{}$`"})


class _Page(gr.Blocks):
    """Gradio's page that looks at files of its own uploads only."""

    uploads: Path

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any
    ) -> Any:
        """What Gradio does, after a look at the files that a client names."""
        if not all(map(self._is_own, _files_in(inputs))):
            text = "Picture: expected an uploaded file, got another path. Upload it again."
            raise gr.Error(text, print_exception=False)
        return await super().preprocess_data(block_fn, inputs, *args, **kwargs)

    def _is_own(self, file: dict[str, Any]) -> bool:
        """Whether it lies where uploads lie; Gradio would fetch a URL."""
        path = Path(str(file.get("path")))
        is_upload = path.parent.parent == self.uploads and _UPLOAD_FOLDER.fullmatch(
            path.parent.name
        )
        return bool(is_upload) and path.is_file() and path.resolve() == path


def add_page(app: FastAPI, service: PictureService, line: WaitingLine, uploads: Path) -> FastAPI:
    """Put the page at / of an application.

    Args:
        app: of `build_api`.
        service: that answers.
        line: in which requests wait for it.
        uploads: an empty folder of this server's own: the only one that Gradio reads and serves.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)  # there is no other way to tell it
    page = _Page(title="stseg", analytics_enabled=False, delete_cache=_SWEEPS)
    page.uploads = uploads
    with page:
        gr.Markdown("# stseg\nA picture, any words, and where they are.")
        with gr.Row():
            with gr.Column(scale=1):
                inputs = _inputs()
                button = gr.Button("Segment", variant="primary", elem_id="segment")
            with gr.Column(scale=2):
                shown = gr.HTML(_page_part("served_message.html", text="", kind="empty"))

        async def show(content: Any, words: Any, threshold: Any, distractors: Any) -> str:
            return await _shown(service, line, content, (words, threshold, distractors))

        picture, words, threshold, distractors = inputs
        gr.on(
            [button.click, picture.upload, words.submit, threshold.release, distractors.submit],
            show, inputs, shown,
            api_visibility="private", concurrency_limit=None, trigger_mode="always_last",
        )  # fmt: skip
    report = ASSETS / "report"
    return gr.mount_gradio_app(
        app,
        page,
        path="/",
        allowed_paths=[],
        max_file_size=service.limits.max_bytes,
        show_error=False,  # but for `gr.Error`: other texts of errors are not for clients
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        footer_links=[],
        css=(report / "served.css").read_text(encoding="utf-8"),
        head=render_page("served_head.html").decode("utf-8"),
    )


def _inputs() -> list[Any]:  # Gradio adds events to its classes when it is imported
    return [
        gr.File(label="Picture", type="binary", elem_id="picture"),
        gr.Textbox(
            label="Words",
            info="Semicolons or new lines part classes, commas part synonyms.",
            placeholder="cat, kitten; sofa; wall",
            elem_id="words",
        ),
        gr.Slider(
            0, 1, value=0, step=0.01,
            label="Confidence",
            info="Pixels of less are unknown; 0 leaves none unknown.",
            elem_id="threshold",
        ),
        gr.Textbox(
            label="Unknown",
            info="Words that compete but are not wanted: their pixels are unknown.",
            placeholder="grass; sky",
            elem_id="distractors",
        ),
    ]  # fmt: skip


async def _shown(
    service: PictureService, line: WaitingLine, content: Any, options: tuple[Any, Any, Any]
) -> str:
    """The answer as a piece of the page, or what is wrong."""
    given: list[Any] = [x if x is not None else "" for x in options]
    words, threshold, distractors = given
    try:
        if not isinstance(content, bytes):
            raise RefusedError("Picture: expected a file, got none. Choose or drop one.")
        if words == "":
            raise RefusedError("Words: expected some, such as cat, kitten; sofa, got none.")
        asked = Asked.read(words, threshold, distractors, service.limits)
        return await line.turn(lambda: answer_html(service.segment(content, asked)))
    except RefusedError as error:
        return _page_part("served_message.html", text=str(error), kind="error")


def answer_html(answer: Answer) -> str:
    """Overlay, hidden ids for the class under the cursor, table and links; names are text only."""
    found = answer.segmentation
    height, width = found.label_map.shape
    scale = min(1.0, _SIDE / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    content = answer.table()
    classes = sorted(content["classes"], key=lambda row: -row["pixels"])
    return _page_part(
        "served_answer.html",
        figure=Figure.of("overlay", found.overlay(size), quality=90),
        ids=base64.b64encode(_ids(answer, size)).decode("ascii"),
        names=[*found.names, "unknown"],
        classes=classes,
        unknown_share=content["unknown_share"],
        unknown_colour=UNKNOWN_COLOUR,
        notes=answer.notes,
        size=(width, height),
        links=[(f"api/answers/{answer.key}/{name}", name) for name in FILES],
    )


def _ids(answer: Answer, size: tuple[int, int]) -> bytes:
    """A PNG whose red and green hold the class id, number of classes = unknown, blue confidence."""
    found = answer.segmentation
    labels = labels_at_size(found.label_map, size)
    labels = np.where(labels < 0, len(found.names), labels)
    confidence = (255 * labels_at_size(found.confidence, size)).round()
    pixels = np.stack([labels % 256, labels // 256, confidence], axis=-1).astype(np.uint8)
    return image_bytes(pixels, "PNG")


def _page_part(template: str, **values: Any) -> str:
    return render_page(template, **values).decode("utf-8").translate(_AS_TEXT)


def _files_in(value: Any) -> list[dict[str, Any]]:
    """All that a client's values would make Gradio take for files."""
    if isinstance(value, dict):
        own = [value] if "path" in value or "url" in value else []
        return own + [file for part in value.values() for file in _files_in(part)]
    if isinstance(value, list):
        return [file for part in value for file in _files_in(part)]
    return []
