"""The reference of the API, its guides, and its OpenAPI document: pages for people who write a partner's program."""

from pathlib import Path

from ordering.entry.api import Api
from ordering.entry.wiring import initialised, serves_reference
from ordering.reference import contract as reference
from ordering.web.http import Answer, PublicCall

PAGES = reference.Pages(Path(__file__).with_name("site"), served=serves_reference())

app = Api(reference.CONTRACT, lambda _: PAGES, public=True, revalidated=True)
app.services = PAGES  # pages are files, which need no connections


@app.get("/")
def get_reference(call: PublicCall) -> Answer[None]:
    """Get the page on which every call is described, and can be tried."""
    return app.services.page(call.request, reference.INDEX)


@app.get("/openapi.json")
def get_openapi(call: PublicCall) -> Answer[None]:
    """Get the OpenAPI document, with the address of this API."""
    return app.services.page(call.request, reference.DOCUMENT)


@app.get("/docs")
def get_first_guide(call: PublicCall) -> Answer[None]:
    """Get the guide to begin with."""
    return app.services.page(call.request, f"{reference.GUIDES}/{reference.FIRST_GUIDE}.html")


@app.get("/docs/<guide>")
def get_guide(call: PublicCall, guide: str) -> Answer[None]:
    """Get a guide."""
    return app.services.page(call.request, f"{reference.GUIDES}/{guide}.html")


@app.get("/assets/<name>")
def get_asset(call: PublicCall, name: str) -> Answer[None]:
    """Get a script or a stylesheet; its name has a hash of its contents."""
    return app.services.page(call.request, f"{reference.ASSETS}/{name}")


handler = initialised(app.handle)
