"""A study as one self-contained HTML page, readable without a network by people who did not run it.

Every number comes from the study, its ledger or its baselines. The page fetches nothing, and every text is escaped.
"""

from medfed.simulation.report.labelling_page import write_labelling_report
from medfed.simulation.report.page import write_report

__all__ = ["write_labelling_report", "write_report"]
