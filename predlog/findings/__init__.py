"""What can be wrong with a pair, and how it is decided; torch is not imported here."""

from predlog.findings.catalog import CODES, REFUSALS, RULES, SENTENCES, page
from predlog.findings.rule import CLEAN, NO_BETTER, Clean, Fault, Past, Rule

__all__ = ["CLEAN", "CODES", "NO_BETTER", "REFUSALS", "RULES", "SENTENCES", "Clean", "Fault", "Past", "Rule", "page"]
