"""Configuration that is passed on unchanged."""

from __future__ import annotations

from typing import Any

from jsonargparse.typing import register_type


class Verbatim:
    """Content of YAML without its classes instantiated: `predict`'s own parser will read it.

    Args:
        content: Mappings, lists and scalars.
    """

    def __init__(self, content: Any) -> None:
        self.content = content


# Under `Any` or `dict`, jsonargparse would instantiate whatever has a class_path.
register_type(Verbatim, serializer=lambda value: value.content, deserializer=Verbatim, deserializer_exceptions=())
