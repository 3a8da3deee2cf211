"""The command that shows the page: ``show``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .app import Json, app


@app.command(name="show")
def page(
    *folder: Path,
    browser: Annotated[bool, Parameter(name="--browser", negative="--no-browser")] = True,
    port: int = 0,
    json_: Json = False,
) -> int:
    """Show studies on a local page, live while they run, until Ctrl-C.

    Args:
        folder: of a study or of many: what thalweg compare or thalweg train printed; none: thalweg-studies and
            thalweg-runs here; where there is no study yet, the page holds the playground.
        browser: open it in a browser.
        port: where the page is served on this machine; 0: a free port.
        json_: one JSON document on standard output, with the address.
    """
    from ..web.serving import serve

    return serve(folder, port, browser, as_json=json_)
