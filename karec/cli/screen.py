"""Screening: uploads → the works that may be recommended; its quality model; its report."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from karec.cli.inputs import need_lab, progress_bars, table_console
from karec.pipeline.deadline import usable_cores

if TYPE_CHECKING:
    from rich.console import Console

    from karec.screening.screen import ScreeningResult


def run(arguments: argparse.Namespace) -> None:
    console = table_console()
    if arguments.report is not None:
        need_lab("--report")
    from karec.screening.outcomes import require_learn
    from karec.screening.screen import screen
    from karec.screening.settings import read_settings

    settings, threads = read_settings(arguments.settings), usable_cores()
    if arguments.report is not None:
        require_learn(settings, arguments.settings)  # what the report needs
        arguments.report.mkdir(parents=True, exist_ok=True)  # one that cannot be written is told now
    with progress_bars() as progress:
        if arguments.train:
            from karec.learn.run.quality_model import train_quality

            model = train_quality(settings, arguments.settings, threads=threads, progress=progress)
            console.print(
                f"{model.path}: {model.trees} trees, from {model.rows:,} works of {model.first} … "
                f"{model.last}; AUC {model.auc:.3f} on {model.held_out:,} works of the last days"
            )
            for line in model.notes:
                console.print(f"note: {line}")
        screened = screen(settings, arguments.out, last=arguments.last, threads=threads, progress=progress)
        report = None
        if arguments.report is not None:
            from karec.lab.studies.screening import judge_screening

            report = judge_screening(settings, arguments.settings, arguments.out, progress)
    _print(console, screened)
    print(f"kept: {arguments.out / 'kept.parquet'}")
    if report is not None:
        from karec.lab.studies.screening import screening_sentence, write_screening

        _, page = write_screening(report, arguments.report)
        console.print(screening_sentence(report))
        for line in report["judged_notes"]:
            console.print(f"note: {line}")
        print(f"report: {page}")


def _print(console: Console, screened: ScreeningResult) -> None:
    from karec.cli.tables import text_table

    uploads = screened.uploads
    fates = [("uploads", f"{uploads:,}", "")]
    fates += [(fate, f"{n:,}", f"{n / max(uploads, 1):.1%}") for fate, n in screened.total().items()]
    days, redone = len(screened.days), len(screened.redone)
    console.print(f"{days} days until {screened.last}, {redone} of them screened now")
    console.print(text_table("What became of the uploads", ("fate", "works", "share"), fates))
    if screened.quotas:
        rows = [
            (q["name"], f"{q['supply']:,}", f"{q['floor']:,}", f"{q['cap']:,}", f"{q['kept']:,}")
            for q in screened.quotas
        ]
        console.print(text_table("Quotas", ("of", "candidates", "floor", "cap", "kept"), rows))
    for line in screened.violations:
        console.print(f"not met: {line}")
    for line in screened.notes:
        console.print(f"note: {line}")
