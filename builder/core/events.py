"""Everything that can happen in a run, as values; reporters listen to these and to nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

from msgspec import Struct, field

from builder.core.errors import Location
from builder.core.plan import Plan


class Phase(str, Enum):
    """The kinds of step, in order.

    PUSH stages, CLAIM makes sure that nobody else publishes meanwhile (one for the whole run), TAG
    publishes, MOVE sets the moving tags.
    """

    BUILD = "build"
    TEST = "test"
    PUSH = "push"
    CLAIM = "claim"
    TAG = "tag"
    MOVE = "move"

    # As quick as that of the text; steps are looked up all the time.
    __hash__ = str.__hash__


class StepId(Struct, frozen=True, order=True):
    """One unit of work: a phase of one image."""

    phase: Phase
    image: str

    def __str__(self) -> str:
        return f"{self.phase.value} {self.image}"


# The one engine that is no Docker Engine.
ASSEMBLER = "assembler"

# --- outcomes ---------------------------------------------------------------------------------


class Built(Struct, frozen=True, kw_only=True):
    """``image_id`` is the engine's id; ``size`` in bytes, if it is known; ``engine`` made it."""

    image_id: str
    size: int | None
    engine: str
    cached: bool = False


class Reused(Struct, frozen=True, kw_only=True):
    """Nothing was built: ``reference`` holds what is needed already."""

    reference: str


class Tested(Struct, frozen=True, kw_only=True):
    commands: int


class Pushed(Struct, frozen=True, kw_only=True):
    """``digest`` of the manifest in the registry, ``uploaded`` bytes that really went there."""

    digest: str
    uploaded: int


class Claimed(Struct, frozen=True, kw_only=True):
    """Nobody else publishes to the namespace until this run has ended."""


class Tagged(Struct, frozen=True, kw_only=True):
    """``digest`` is what they name, "" where that is what was pushed or found."""

    references: tuple[str, ...]
    digest: str = ""


class Failed(Struct, frozen=True, kw_only=True):
    """``where`` and ``command`` are the instruction that failed, where it is known.

    ``exit_code`` is the class of the failure: 1 build or test, 4 publishing (see errors.py).
    ``log_tail`` holds the last lines of output, at most 20.
    """

    message: str
    exit_code: int
    where: Location | None = None
    command: str | None = None
    log_tail: tuple[str, ...] = ()
    hint: str | None = None
    transient: bool = False


class Blocked(Struct, frozen=True, kw_only=True):
    """Never started, because ``by`` (an image) failed."""

    by: str


class Interrupted(Struct, frozen=True, kw_only=True):
    """Never started or stopped half-way by Ctrl-C, SIGTERM or fail-fast."""


Outcome = Built | Reused | Tested | Pushed | Claimed | Tagged | Failed | Blocked | Interrupted


# --- events -----------------------------------------------------------------------------------
# ``at`` is always seconds since the epoch (Clock.now).


class RunStarted(Struct, frozen=True, kw_only=True):
    """``steps`` are all that will be settled, so that a reporter knows how far the run is."""

    run_id: str
    plan: Plan
    jobs: int
    log_dir: str
    at: float
    steps: tuple[StepId, ...] = ()


class StepStarted(Struct, frozen=True, kw_only=True):
    step: StepId
    at: float


class StepProgress(Struct, frozen=True, kw_only=True):
    """What the step is doing just now, e.g. "[3/7] RUN apt-get update" or bytes pushed."""

    step: StepId
    text: str
    current: int | None = None
    total: int | None = None


class StepOutput(Struct, frozen=True, kw_only=True):
    """One line of output, without its newline."""

    step: StepId
    line: str


class StepRetried(Struct, frozen=True, kw_only=True):
    """Attempt number ``attempt`` (from 1) failed and is repeated after ``delay`` seconds."""

    step: StepId
    attempt: int
    delay: float
    message: str
    at: float


class StepFinished(Struct, frozen=True, kw_only=True):
    step: StepId
    outcome: Outcome
    seconds: float
    at: float


class Note(Struct, frozen=True, kw_only=True):
    """Something a person should know that belongs to no step (a warning, a fall-back taken)."""

    text: str


class ImageStatus(str, Enum):
    """The ``status`` values of the JSON report."""

    OK = "ok"
    FAILED = "failed"
    BLOCKED = "blocked"
    SKIPPED = "skipped"
    INTERRUPTED = "interrupted"


class ImageResult(Struct, frozen=True, kw_only=True):
    """What became of one image of the plan.

    ``seconds`` of building and testing, not pushing; ``cached``: the engine had nothing to run;
    ``assembled``: no engine made it.
    """

    image: str
    action: str
    status: ImageStatus
    reasons: tuple[str, ...] = ()
    key: str = ""
    digest: str | None = None
    refs: tuple[str, ...] = ()
    seconds: float = 0.0
    size: int | None = None
    pushed_bytes: int | None = None
    log: str | None = None
    error: Failed | None = None
    blocked_by: str | None = None
    optional: bool = False
    cached: bool = False
    assembled: bool = False


class Summary(Struct, frozen=True, kw_only=True):
    """The result of a run.

    ``status``: ok, failed or interrupted. ``bound_seconds`` is the least time that the builds could
    have taken with these jobs: max(critical path, total work / jobs).
    """

    run_id: str
    commit: str
    dirty: bool
    status: str
    started: float
    seconds: float
    bound_seconds: float
    exit_code: int
    images: Mapping[str, ImageResult] = field(default_factory=dict)
    release: str | None = None
    remarks: tuple[str, ...] = ()


class RunFinished(Struct, frozen=True, kw_only=True):
    summary: Summary
    at: float


Event = (
    RunStarted
    | StepStarted
    | StepProgress
    | StepOutput
    | StepRetried
    | StepFinished
    | Note
    | RunFinished
)
Report = Callable[[Event], None]
