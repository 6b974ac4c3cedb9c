"""Arguments that had another name in the oldest versions of the frameworks that are tried."""

from typing import Any


def named(config: Any, **arguments: Any) -> dict[str, Any]:
    """Return arguments by the names that they have in a class of configurations."""
    known = config.__dataclass_fields__
    return {OLD.get(name, name) if name not in known else name: value for name, value in arguments.items()}


OLD = {"max_length": "max_seq_length", "activation_checkpointing": "gradient_checkpointing"}
