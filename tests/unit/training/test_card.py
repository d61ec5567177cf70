"""The figures of an evaluation as the model card shows them."""

import json
from pathlib import Path

from training.card import figures, write_figures
from training.evaluation import BARS, FILE

REPORT = {
    "prompts": 400,
    "steps": 20,
    "guidance_scale": 4.0,
    "right": {"shape": 0.875, "shape (english)": 0.9, "shape (korean)": 0.85, "land": 1.0},
    "bars": BARS,
    "classifier_accuracy": {"first_shape": 0.99, "second_shape": 0.96, "land": 1.0},
}


def test_a_figure_stands_beside_its_bar_and_its_judge() -> None:
    assert "| shape of the objects | 87.5 % | 90.0 % | 85.0 % | 85.0 % | 96.0 % |" in figures(REPORT)


def test_only_what_is_between_the_marks_changes(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text("before\n<!-- figures -->\nold\n<!-- end of figures -->\nafter\n")
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    (work_dir / FILE).write_text(json.dumps(REPORT))
    write_figures(work_dir, card)
    assert json.loads((tmp_path / FILE).read_bytes()) == REPORT
    text = card.read_text()
    assert text.startswith("before\n<!-- figures -->\n400 prompts")
    assert text.endswith("<!-- end of figures -->\nafter\n")
    assert "old" not in text
