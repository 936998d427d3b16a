"""Where pictures and tables go: files, and with `--track` the trackers of what they are of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from matplotlib.figure import Figure

from fewshot_cli.compare import runs_read, style
from fewshot_cli.progress import say
from fewshot_cli.runs.directory import RUNNING, RunDirectory, shown
from fewshot_cli.settings.errors import UserError


class Destination:
    """A file for a picture, and with `track` the trackers of `runs` or folders of them.

    Raises:
        UserError: one of them could not take a picture.
    """

    def __init__(self, out: Path, runs: Iterable[Path], track: bool) -> None:
        style.check(out)
        self.out, self.tracked = out, [Tracked(run) for run in runs] if track else []

    def leave(self, figure: Figure) -> None:
        style.leave(figure, self.out)
        for each in self.tracked:
            each.show({self.out.stem: figure})


class Tracked:
    """The trackers of a run or an evaluation of it, or of a folder of runs, as its first run says.

    Raises:
        UserError: there is none, it cannot work here, or the run still goes on.
    """

    def __init__(self, path: Path) -> None:
        # Here, since few pictures go to a tracker.
        from fewshot_cli import trackers
        from fewshot_cli.settings import compose

        self.path = path.parent.parent if path.parent.name == "evaluations" else path
        run = RunDirectory(self.path)
        if not run.config.is_file():
            run = RunDirectory(runs_read.find([self.path])[0])
        self.config = compose.changed_config(run.config, [], ())
        if self.config.tracker.name == "none":
            raise UserError(
                f"--track: {shown(self.path)} has no tracker; expected a run that was trained with "
                "one, such as tracker=tensorboard"
            )
        if RunDirectory(self.path).ending()[0] == RUNNING:
            raise UserError(f"--track: {shown(self.path)} still runs; expected one that has ended")
        trackers.check(self.config)

    def show(self, figures: Mapping[str, Figure], tables: Mapping[str, str] | None = None) -> None:
        """Hand over pictures, and tables as the text of a CSV, by name."""
        from fewshot_cli import trackers

        with TemporaryDirectory() as folder:
            files = {name: Path(folder) / f"{name}.png" for name in figures}
            for name, figure in figures.items():
                style.save(figure, files[name])
            for name, text in (tables or {}).items():
                files[name] = Path(folder) / f"{name}.csv"
                files[name].write_text(text, encoding="utf-8")
            trackers.show(self.config, self.path, files)
        where = self.config.tracker.name.replace(",", ", ")
        say(f"Shown in {where}: {', '.join(files)} of {shown(self.path)}")
