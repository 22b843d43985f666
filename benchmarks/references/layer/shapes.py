"""The shapes of requests and responses, as pydantic models."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class NewItem(BaseModel):
    """One item to order."""

    model_config = ConfigDict(extra="forbid")

    featureSetId: UUID
    quantity: Annotated[int, Field(ge=1, le=10_000)]
    sourceReference: Annotated[str, Field(max_length=255)] | None = None
    feedbackLinkUri: Annotated[str, Field(max_length=2_048)] | None = None
    feedbackLinkText: Annotated[str, Field(max_length=255)] | None = None
    enableFeedbackLink: bool | None = None
    achievementCode: Annotated[str, Field(max_length=255)] | None = None


class NewTrainingOrder(BaseModel):
    """An order to be created."""

    model_config = ConfigDict(extra="forbid")

    purchaseOrderReference: Annotated[str, Field(min_length=1, max_length=100)]
    emailKeys: bool
    contactEmail: Annotated[str, Field(max_length=254)] | None = None
    orderItems: Annotated[list[NewItem], Field(min_length=1, max_length=500)]


class UnitShape(BaseModel):
    """A business unit."""

    name: str


class UserShape(BaseModel):
    """The user whose token placed an order."""

    forename: str
    surname: str
    name: str
    userName: str


class SourceShape(BaseModel):
    """The channel that an order came through."""

    name: str
    invoiceable: bool


class LinksShape(BaseModel):
    """A link to the resource itself."""

    self: str


class OneOrder(BaseModel):
    """One order."""

    id: int
    businessUnitId: UUID
    createdByUserId: UUID
    orderSourceId: UUID
    purchasingOrderReference: str
    contactForename: str
    contactSurname: str
    contactEmail: str
    orderStatus: str
    created: str
    editable: bool
    cancellable: bool


class NewlyCreated(OneOrder):
    """An order in the response to its creation."""

    businessUnit: UnitShape
    createdByUser: UserShape
    links: LinksShape = Field(alias="_links")


class InList(NewlyCreated):
    """An order as a list shows it."""

    orderSource: SourceShape


class PageShape(BaseModel):
    """The position of a page in its list."""

    pageCount: int
    totalItemCount: int
    pageNumber: int
    pageSize: int
    hasPreviousPage: bool
    hasNextPage: bool
    isFirstPage: bool
    isLastPage: bool
    firstItemOnPage: int
    lastItemOnPage: int


class ListOfOrders(BaseModel):
    """A page of orders."""

    items: list[InList]
    page_info: PageShape = Field(alias="_pageInfo")
    links: dict[str, str] = Field(alias="_links")
