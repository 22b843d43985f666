"""Stored orders as responses show them, in plain values."""

from typing import Any


def shown(order: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a stored order as every shape has them."""
    user, contact = order["user"], order["contact"]
    created: str = order["created"]
    return {
        "id": int(order["id"]),
        "businessUnitId": order["unit"]["id"],
        "createdByUserId": user["id"],
        "orderSourceId": order["source"]["id"],
        "purchasingOrderReference": order["reference"],
        "contactForename": contact["forename"],
        "contactSurname": contact["surname"],
        "contactEmail": contact["email"],
        "orderStatus": order["status"],
        "created": created[:23],
        "editable": False,
        "cancellable": False,
    }


def shown_in_list(order: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a stored order as a list shows it."""
    user, source = order["user"], order["source"]
    forename, surname = user["forename"], user["surname"]
    return {
        **shown(order),
        "businessUnit": {"name": order["unit"]["name"]},
        "createdByUser": {
            "forename": forename,
            "surname": surname,
            "name": f"{forename} {surname}",
            "userName": user["user_name"],
        },
        "orderSource": {"name": source["name"], "invoiceable": source["invoiceable"]},
        "_links": {"self": f"/api/v2/orders/{order['id']}"},
    }


def page_of(path: str, orders: list[dict[str, Any]], page: int, size: int, total: int) -> dict[str, Any]:
    """Return a page of a list."""
    count = -(-total // size)
    first = (page - 1) * size + 1
    return {
        "items": orders,
        "_pageInfo": {
            "pageCount": count,
            "totalItemCount": total,
            "pageNumber": page,
            "pageSize": size,
            "hasPreviousPage": page > 1,
            "hasNextPage": page < count,
            "isFirstPage": page == 1,
            "isLastPage": page == count,
            "firstItemOnPage": first,
            "lastItemOnPage": min(first + size - 1, total),
        },
        "_links": {"next": f"{path}?_page={page + 1}&_pageSize={size}"} if page < count else {},
    }
