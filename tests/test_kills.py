"""Real trainings, killed at any moment and at each of their steps: nothing finished is lost, nothing is done twice."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_experiment import EPOCHS, MODELS, PATIENCE, Reporter, Try, commands_of, make_small

from sesn_lib.store.records import deterministic_part, validate

ONE = (("mnist_cnn_28",), "1.0")
CELL = "mnist_cnn_28-x1.0-r0"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to work in; this process, too, takes the small numbers for the protocol."""
    folder = tmp_path_factory.mktemp("kills")
    with pytest.MonkeyPatch.context() as patches:
        make_small(patches, folder / "raw")
        yield folder


@pytest.fixture(scope="module")
def undisturbed(small: Path) -> Path:
    """The folder of a run that nobody killed."""
    run = Try(small / "undisturbed")
    assert run.finish() == 0, run.output
    assert "complete: 4," in (small / "undisturbed" / "results" / "results.yml").read_text(), "the control"
    return small / "undisturbed"


# -- what is looked at -----------------------------------------------------------------------------------


def files(folder: Path) -> dict[str, Path]:
    """All files of data and results, locks included, by path in the folder."""
    found = (path for part in ("data", "results") for path in (folder / part).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path for path in found}


def is_record(name: str) -> bool:
    return name.startswith("results/runs/") and name.endswith(".json")


class Witness:
    """Looks at a folder after each end of a process, and complains of what should not be.

    Arguments:
        folder: where processes are killed.
        reference: where none was; its data and results.yml must be equalled to the byte.
    """

    def __init__(self, folder: Path, reference: Path) -> None:
        self.folder = folder
        self.expected = files(reference)
        self.seen: dict[str, bytes] = {}
        self.epochs = 0

    def look(self, run: Try) -> None:
        assert "Traceback" not in run.output, run.output
        assert "set aside" not in run.output, run.output
        self.epochs += run.entered["train"]
        for cell in run.begun:
            assert f"results/runs/{cell}.json" not in self.seen, f"{cell} was begun again though it has a record"
        found = files(self.folder)
        for name, content in self.seen.items():
            assert name in found, f"{name} has vanished"
            assert found[name].read_bytes() == content, f"{name} has changed"
        for name, path in found.items():
            assert not name.endswith(".damaged"), name
            if name.endswith(".tmp") or "/.locks/" in name:
                continue
            if name.startswith("results/checkpoints/"):
                self.load(name, path)
                continue
            assert name in self.expected, f"{name} should not be"
            content = path.read_bytes()
            if is_record(name):
                self.parse(name, content)
            else:
                assert content == self.expected[name].read_bytes(), f"{name} is not whole, or not as undisturbed"
            self.seen.setdefault(name, content)

    def look_at_the_end(self) -> None:
        found = files(self.folder)
        assert sorted(found) == sorted(self.expected), "files are missing, or left over"
        for name in filter(is_record, found):
            ours, theirs = (self.parse(name, path.read_bytes()) for path in (found[name], self.expected[name]))
            assert deterministic_part(ours) == deterministic_part(theirs), f"{name} differs from the undisturbed"

    @staticmethod
    def parse(name: str, content: bytes) -> dict[str, Any]:
        try:
            record = json.loads(content)
            validate(record)
        except ValueError as error:
            raise AssertionError(f"{name} is not whole: {error}") from None
        return record

    @staticmethod
    def load(name: str, path: Path) -> None:
        try:
            json.loads(path.read_text()) if name.endswith(".json") else torch.load(path, weights_only=True)
        except Exception as error:
            raise AssertionError(f"{name} is not whole: {error}") from None


# -- kills -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Aim:
    """When to kill: `delay` seconds after the start, or after the `nth` entry into a phase; or at a step in a phase.

    A step is waited at by the process itself, see `tiny_experiment.STEPS`, so that the kill is sure to hit it.
    """

    phase: str = ""
    step: str = ""
    nth: int = 1
    delay: float = 0.0

    def kill(self, folder: Path, **options: Any) -> Try:
        # Without a step it stops at its first record at the latest: a fast machine leaves something to later kills.
        hold = (self.phase, self.step, self.nth) if self.step else ("record", "enter", 1)
        run = Try(folder, hold=hold, **options)
        # What comes too late for its aim is killed as well, so that the number of kills is what was planned.
        late = "train" if self.phase in ("data", "realization") else "collect"

        def reached(run: Try) -> bool:
            if run.held or (self.phase != late and run.entered[late] > 0):
                return True
            return not self.step and self.phase != "" and run.entered[self.phase] >= self.nth

        run.listen(PATIENCE if self.phase else self.delay, reached)
        if self.phase and not run.held:
            time.sleep(self.delay)
        run.kill()
        return run


def episode(draws: random.Random) -> list[Aim]:
    """Aims from an empty folder to results.yml: each phase at a random moment and at each step, and any moment."""
    first = [
        Aim("data", "open", draws.randint(1, 4)),
        Aim("data", "os.rename", draws.randint(1, 2)),
        Aim("data", delay=draws.uniform(0, 0.05)),
        Aim("realization", draws.choice(["open", "os.rename"])),
    ]
    middle = [
        Aim("train", nth=draws.randint(1, 3), delay=draws.uniform(0, 0.3)),
        Aim("checkpoint", nth=draws.randint(1, 3), delay=draws.uniform(0, 0.03)),
        Aim("checkpoint", draws.choice(["open", "os.rename", "os.remove"]), draws.randint(1, 3)),
        *[Aim("record", step) for step in ("fcntl.flock", "os.link", "os.remove")],
        Aim("discard", "os.remove"),
        *[Aim(delay=2 * draws.random() ** 2) for _ in range(2)],
    ]
    last = [Aim("collect", "os.rename"), Aim("collect", delay=draws.uniform(0, 0.01))]
    return first + draws.sample(middle, len(middle)) + last


def kill_and_finish(folder: Path, reference: Path, aims: list[Aim]) -> tuple[Counter[str], Counter[str]]:
    """Kills by the aims, then lets the work be finished, looking closely all the while.

    Returns: how many kills hit each phase, and how many each step.
    """
    witness = Witness(folder, reference)
    phases: Counter[str] = Counter()
    steps: Counter[str] = Counter()
    for aim in aims:
        run = aim.kill(folder)
        witness.look(run)
        phases[run.phase] += 1
        steps[run.held] += 1
    run = Try(folder)
    assert run.finish() == 0, run.output
    witness.look(run)
    witness.look_at_the_end()
    cells = sum(map(is_record, witness.seen))
    assert cells == 2 * len(MODELS)
    assert witness.epochs <= cells * EPOCHS + len(aims), "a kill costs one epoch at most: checkpoints are taken up"
    return phases, steps


def check_coverage(phases: Counter[str], steps: Counter[str], kills: int) -> None:
    assert phases.total() == kills
    assert phases["data"] + phases["realization"] > 1
    for phase in ("train", "checkpoint", "record", "discard", "collect"):
        assert phases[phase] > 0, f"no kill hit {phase}"
    for step in ("record os.link", "record os.remove", "discard os.remove", "collect os.rename"):
        assert steps[step] > 0, f"no kill hit {step}"


def test_killed_fifteen_times_it_ends_as_if_undisturbed(small: Path, undisturbed: Path) -> None:
    aims = episode(random.Random(1))
    assert len(aims) == 15
    check_coverage(*kill_and_finish(small / "killed", undisturbed, aims), kills=15)


@pytest.mark.long
def test_killed_a_hundred_times_it_ends_as_if_undisturbed(small: Path, undisturbed: Path) -> None:
    phases: Counter[str] = Counter()
    steps: Counter[str] = Counter()
    draws = random.Random(2)
    for number in range(7):
        found = kill_and_finish(small / f"killed {number}", undisturbed, episode(draws))
        phases += found[0]
        steps += found[1]
    check_coverage(phases, steps, kills=105)
    print(f"kills by phase: {dict(phases)}; at a step: {dict(steps)}")


# -- controls: the same eyes see what is wrong -----------------------------------------------------------


def two_halves(patches: pytest.MonkeyPatch, reporter: Reporter) -> None:
    """Files are written in place, and one may come between."""
    from sesn_lib.store import records as store

    def write(path: Path, content: bytes, *, replace: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2])
            file.flush()
            with reporter.phase("half"):
                file.write(content[len(content) // 2 :])

    patches.setattr(store, "write_aside", write)


def blind(patches: pytest.MonkeyPatch, reporter: Reporter) -> None:
    """Records of earlier processes are not seen, and overwritten."""
    from sesn_lib.store import records as store

    write, written = store.write_aside, set()

    def overwrite(path: Path, content: bytes, *, replace: bool) -> None:
        write(path, content, replace=True)
        written.add(path)

    patches.setattr(store.Store, "has", lambda self, cell: self.path(cell) in written)
    patches.setattr(store, "write_aside", overwrite)


def forgetful(patches: pytest.MonkeyPatch, reporter: Reporter) -> None:
    """A checkpoint is taken up without the state of its random numbers."""
    from sesn_lib.store import checkpoint

    load = checkpoint.Checkpoint.load

    def without(self: Any) -> Any:
        state = load(self)
        return state and {**state, "generator": torch.Generator().manual_seed(0).get_state()}

    patches.setattr(checkpoint.Checkpoint, "load", without)


def untidy(patches: pytest.MonkeyPatch, reporter: Reporter) -> None:
    """Checkpoints are left behind."""
    from sesn_lib.store import checkpoint

    patches.setattr(checkpoint.Checkpoint, "discard", lambda self, before=0.0: None)


@pytest.mark.parametrize(
    ("sabotage", "aim", "complaint"),
    [
        (None, Aim("train", "enter", 2), None),
        (two_halves, Aim("half", "enter"), f"{CELL}.json is not whole"),
        (blind, Aim("collect", "enter"), "was begun again|has changed"),
        (forgetful, Aim("train", "enter", 2), f"{CELL}.json differs from the undisturbed"),
        (untidy, Aim("train", "enter", 2), "files are missing, or left over"),
    ],
)
def test_the_same_eyes_see_what_is_wrong(
    small: Path, undisturbed_cell: Path, sabotage: Any, aim: Aim, complaint: str | None
) -> None:
    folder = small / f"sabotage {getattr(sabotage, '__name__', 'none')}"

    def kill_and_finish() -> None:
        options = {"commands": commands_of(folder, *ONE), "sabotage": sabotage}
        witness = Witness(folder, undisturbed_cell)
        run = aim.kill(folder, **options)
        assert run.held == f"{aim.phase} {aim.step}"
        witness.look(run)
        run = Try(folder, **options)
        assert run.finish() == 0, run.output
        witness.look(run)
        witness.look_at_the_end()

    if complaint is None:
        kill_and_finish()
    else:
        with pytest.raises(AssertionError, match=complaint):
            kill_and_finish()


@pytest.fixture(scope="module")
def undisturbed_cell(small: Path) -> Path:
    folder = small / "undisturbed cell"
    run = Try(folder, commands_of(folder, *ONE))
    assert run.finish() == 0, run.output
    return folder


def test_a_vanished_and_a_changed_record_are_seen(small: Path, undisturbed_cell: Path) -> None:
    folder = small / "meddled with"
    run = Try(folder, commands_of(folder, *ONE))
    assert run.finish() == 0
    witness = Witness(folder, undisturbed_cell)
    witness.look(run)
    path = folder / "results" / "runs" / f"{CELL}.json"
    content = path.read_bytes()
    path.write_bytes(content + b"\n")
    run.begun.clear()
    with pytest.raises(AssertionError, match="has changed"):
        witness.look(run)
    path.unlink()
    with pytest.raises(AssertionError, match="has vanished"):
        witness.look(run)
    path.write_bytes(content)
    witness.look(run)


# -- together --------------------------------------------------------------------------------------------


def test_four_runners_train_each_cell_once_and_take_over_from_one_that_is_killed(
    small: Path, undisturbed: Path
) -> None:
    folder = small / "together"
    data, run, collect = commands_of(folder)
    witness = Witness(folder, undisturbed)
    assert Try(folder, [data]).finish() == 0
    runners = [Try(folder, [run]) for _ in range(4)]
    victim = runners[0]
    assert victim.listen(PATIENCE, lambda run: run.entered["train"] > 0)
    (taken,) = victim.begun
    victim.kill()
    assert [runner.finish() for runner in runners[1:]] == [0] * 3, [runner.output for runner in runners]
    assert Try(folder, [collect]).finish() == 0
    begun = sum((runner.begun for runner in runners), Counter())
    assert begun == {**{Path(name).stem: 1 for name in files(undisturbed) if is_record(name)}, taken: 2}
    assert sum(bool(runner.begun) for runner in runners) > 2, "the control: the work was in fact shared"
    assert all("Traceback" not in runner.output for runner in runners)
    witness.look(runners[-1])
    witness.look_at_the_end()
