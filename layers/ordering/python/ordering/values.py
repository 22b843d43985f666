"""Value types: classes of named fields, as dataclasses are, that take next to no time to create.

The decorator `dataclass` compiles methods for each class while its module is imported. msgspec's `Struct`, for the few
types that change, and `Value` have their methods ready. `asdict` leaves the values in a value as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, dataclass_transform

from msgspec import Struct, field

if TYPE_CHECKING:
    # Of these, mypy checks the names and types of the fields.
    from dataclasses import asdict, replace
else:
    from msgspec.structs import asdict, replace

__all__ = ["Struct", "Value", "asdict", "field", "replace"]


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Value(Struct, frozen=True):
    """Has fields that cannot be set. Two are equal if they are of the same class and their fields are equal."""

    unprinted: ClassVar[frozenset[str]] = frozenset()
    """Fields that `repr` leaves out, because they are secret or the personal data of customers."""

    def __repr__(self) -> str:
        shown = [f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name not in self.unprinted]
        return f"{type(self).__qualname__}({', '.join(shown)})"
