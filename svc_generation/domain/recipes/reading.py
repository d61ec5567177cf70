"""From the bytes of a picture to what made it: the first note that tells of it, of the programs whose notes are known."""

from typing import Final

from svc_common.picture_notes import USER_COMMENT, NoteFaultError, Notes, notes_in
from svc_generation.domain.recipes import a1111, comfyui, invokeai, own
from svc_generation.domain.recipes.findings import Findings, recipe_invalid, shown

_KEYWORDS: Final = frozenset(
    {own.KEYWORD, invokeai.KEYWORD, a1111.KEYWORD, comfyui.RUN_KEYWORD, comfyui.DRAWN_KEYWORD, USER_COMMENT}
)
_COMPANIONS: Final = frozenset({"invokeai_workflow", "invokeai_graph"})
"""Notes that say again, as a program, what the recipe says."""
_PROGRAMS: Final = "Pingvas Studio, InvokeAI, ComfyUI or AUTOMATIC1111's web UI"


def read_recipe(picture: bytes) -> Findings:
    """Reads what made a picture; no pixel is decoded.

    Raises:
        ServiceError: RECIPE_INVALID; `cause` in the metadata is "none" where the file is a good picture without a recipe, and
            otherwise what is wrong with it.
    """
    try:
        notes = notes_in(picture, _KEYWORDS)
    except NoteFaultError as fault:
        raise recipe_invalid(fault.cause, str(fault)) from None
    found, read = _read(notes)
    if found is None:
        raise _without_recipe(notes)
    for keyword in (*notes.texts, *notes.others):
        if keyword not in read | _COMPANIONS:
            found.leave_out(f"note {keyword}", "")
    return found


def _read(notes: Notes) -> tuple[Findings | None, frozenset[str]]:
    """Reads the first notes that tell of a recipe, and returns which they were."""
    texts = notes.texts
    if own.KEYWORD in texts:
        return own.read_own(texts[own.KEYWORD]), frozenset({own.KEYWORD})
    if invokeai.KEYWORD in texts:
        return invokeai.read_invokeai(texts[invokeai.KEYWORD]), frozenset({invokeai.KEYWORD})
    # Some nodes of ComfyUI write both; in the text each parameter has its place.
    for keyword in (a1111.KEYWORD, USER_COMMENT):
        if keyword in texts and (found := a1111.read_a1111(texts[keyword])) is not None:
            return found, frozenset({keyword})
    run, drawn = texts.get(comfyui.RUN_KEYWORD), texts.get(comfyui.DRAWN_KEYWORD)
    if run is None and drawn is None:
        return None, frozenset()
    return comfyui.read_comfyui(run, drawn), frozenset({comfyui.RUN_KEYWORD, comfyui.DRAWN_KEYWORD})


def _without_recipe(notes: Notes) -> Exception:
    names = [*notes.texts, *notes.others]
    if not names:
        fault = "it has no notes at all"
        advice = "Programs and sites that edit or share pictures often remove them: use the original file."
    else:
        fault = f"its notes ({shown(', '.join(names))}) tell of no recipe"
        advice = f"Use a picture of {_PROGRAMS}, or give the parameters yourself."
    return recipe_invalid("none", fault, advice)
