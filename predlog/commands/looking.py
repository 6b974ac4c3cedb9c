"""A path → the summary of what can be read there, or the error that nothing can."""

from predlog.commands.waiting import waiting
from predlog.damage import Damages
from predlog.errors import NoRecordsError
from predlog.reading import Reading
from predlog.summary import Summary


def look(path: str, *, all_attempts: bool = False) -> tuple[Summary, Damages]:
    """Give the summary of a path's records, and what is damaged.

    Raises:
        NoRecordsError: Not one record can be read.
    """
    records = Reading(path, all_attempts=all_attempts, warns=False)
    with waiting(records):
        summary = Summary.of(records)
    summary.replace(records.replaced)
    if summary.is_empty:
        raise NoRecordsError(f"{path} holds no records: {why_not(records.damage)}")
    return summary, records.damage


def why_not(damage: Damages) -> str:
    """Say why nothing could be read."""
    if not damage:
        return "it is empty; is it a predictions.jsonl, and has the run begun?"
    return f"{damage[0].file}, line {damage[0].line}: {damage[0].reason}; is it a predictions.jsonl?"
