"""`fewshot plot sinusoid`: curves before and after adaptation.

Raises UserError where the run or the file is wrong.
"""

from __future__ import annotations

from pathlib import Path

from fewshot_cli.arguments import Picture, Run, Track
from fewshot_cli.plots.destination import Destination


def sinusoid(run: Run, out: Picture = Path("sinusoid.png"), track: Track = False) -> None:
    """Curves before adaptation and after 1, 5 and 10 steps.

    Of a run of data=sinusoid, or of data=table with one feature and one target.

    fewshot plot sinusoid outputs/runs/NAME
    """
    destination = Destination(out, [run], track)

    from fewshot_cli.plots import fitted_curves

    destination.leave(fitted_curves.draw(run))
