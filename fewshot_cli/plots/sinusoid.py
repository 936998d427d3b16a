"""`fewshot plot sinusoid`: curves before and after adaptation.

Raises UserError where the run or the file is wrong.
"""

from __future__ import annotations

from pathlib import Path

from fewshot_cli.arguments import Picture, Run
from fewshot_cli.compare import style


def sinusoid(run: Run, out: Picture = Path("sinusoid.png")) -> None:
    """Curves before adaptation and after 1, 5 and 10 steps.

    Of a run of data=sinusoid, or of data=table with one feature and one target.

    fewshot plot sinusoid outputs/runs/NAME
    """
    style.check(out)

    from fewshot_cli.plots import fitted_curves

    style.leave(fitted_curves.draw(run), out)
