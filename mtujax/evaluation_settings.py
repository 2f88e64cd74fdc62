"""What a folder holds the evaluation of; another one is not mixed with it."""

from mtujax.errors import UserError
from mtujax.evaluation_run import Work
from mtujax.mappings import differing_fields
from mtujax.results import Evaluation, Method, Scored, to_json

SETTINGS_KIND, SETTINGS_VERSION = "mtujax evaluation settings", 2
"""Of `settings.json`; the first version had the kind of results."""

_WAY_OUT = "name another folder with --out, or delete this one"


def agree(work: Work, method: Method, about: Scored, *, first: bool) -> None:
    """Notes what is evaluated in the folder; refuses to mix it with something else.

    Args:
        work: the evaluation.
        method: what is evaluated.
        about: on what.
        first: whether this is the process that writes.

    Raises:
        UserError: naming what differs from the evaluation that the folder holds.
    """
    settings, old = _settings(work, method, about), work.folder.settings()
    if old is None:
        if first:
            work.folder.write_settings(settings)
        return
    place = work.folder.path
    kind = (SETTINGS_KIND, SETTINGS_VERSION)
    if not isinstance(old, dict) or (old.get("kind"), old.get("version")) != kind:
        raise UserError(
            f"{place}: holds an evaluation of another version of mtujax, which this "
            f"one cannot go on with; {_WAY_OUT}"
        )
    theirs = {name: old.pop(name, None) for name in ("frames", "results")}
    ours = {name: settings.pop(name) for name in theirs}
    if differing := differing_fields(old, settings):
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise UserError(
            f"{place}: holds another evaluation: {'; '.join(differing[:3])}{more}; "
            f"{_WAY_OUT}"
        )
    places = {"frames": work.videos.path}
    if work.results is not None:
        places["results"] = work.results.folder
    for name, where in places.items():
        if theirs[name] != ours[name]:
            raise UserError(
                f"{place}: holds an evaluation of other {name}: those in {where} are "
                f"not the same, or have changed since; {_WAY_OUT}"
            )


def _settings(work, method, about):
    told = to_json(Evaluation(method, about, {}))
    return {
        "kind": SETTINGS_KIND,
        "version": SETTINGS_VERSION,
        "method": told["method"],
        "dataset": told["dataset"],
        "protocols": sorted(p.name for p in work.setup.protocols),
        "motion": work.setup.motion,
        "consistency": work.setup.consistency,
        "frames": work.videos.fingerprint(motion=work.setup.motion),
        "results": work.results and work.results.fingerprint,
    }
