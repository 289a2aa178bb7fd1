"""What an evaluation shows a person: a table for the terminal, and a page with charts and cases."""

from ds_nowcast.scoring.report.cases import Case, chosen_cases
from ds_nowcast.scoring.report.made_cases import cases_of
from ds_nowcast.scoring.report.page import write_report
from ds_nowcast.scoring.report.text import score_table

__all__ = ["Case", "cases_of", "chosen_cases", "score_table", "write_report"]
