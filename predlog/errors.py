"""What predlog raises."""


class PredlogError(Exception):
    """Base of everything that predlog raises on purpose."""


class PairError(PredlogError):
    """Logits, labels, layout, shift or step do not make a pair that can be compared."""


class SettingError(PredlogError, ValueError):
    """A recorder was asked for with arguments that make no sense."""


class RecordError(PredlogError, ValueError):
    """A line is no undamaged predlog record, or an event cannot become one."""
