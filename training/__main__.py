"""The command line of the training: one command for each step of the making of the model.

In order: autoencoder, latents, text, denoiser, refine, decoder, export, classifier, evaluate, card, grid.
"""

import argparse
from pathlib import Path
from typing import Final

from gpu_worker.models.builtin import SHIPPED, write_manifest
from training.loop import Budget
from training.replicas import launch

_MODEL: Final = SHIPPED


def main() -> None:
    """Runs one step of the making of the model."""
    arguments = _parser().parse_args()
    arguments.work_dir.mkdir(parents=True, exist_ok=True)
    arguments.run(arguments)


def _autoencoder(arguments: argparse.Namespace) -> None:
    from training import autoencoder  # noqa: PLC0415 - each step loads only what it needs

    launch(autoencoder.train, arguments.work_dir, _budget(arguments))


def _latents(arguments: argparse.Namespace) -> None:
    from training import latents  # noqa: PLC0415 - as above

    launch(latents.encode, arguments.work_dir, arguments.pictures)
    latents.join(arguments.work_dir)


def _text(arguments: argparse.Namespace) -> None:
    from training import text  # noqa: PLC0415 - as above

    launch(text.train, arguments.work_dir, _budget(arguments))


def _denoiser(arguments: argparse.Namespace) -> None:
    from training import denoiser  # noqa: PLC0415 - as above

    launch(denoiser.train, arguments.work_dir, _budget(arguments))


def _refine(arguments: argparse.Namespace) -> None:
    from training import denoiser  # noqa: PLC0415 - as above

    launch(denoiser.refine, arguments.work_dir, _budget(arguments))


def _decoder(arguments: argparse.Namespace) -> None:
    from training import decoder  # noqa: PLC0415 - as above

    launch(decoder.train, arguments.work_dir, _budget(arguments))


def _classifier(arguments: argparse.Namespace) -> None:
    from training import classifier  # noqa: PLC0415 - as above

    classifier.train(arguments.work_dir, _budget(arguments))


def _export(arguments: argparse.Namespace) -> None:
    from training import export  # noqa: PLC0415 - as above

    export.export(arguments.work_dir, arguments.folder)


def _unpack(arguments: argparse.Namespace) -> None:
    from training import unpacking  # noqa: PLC0415 - as above

    unpacking.unpack(arguments.folder, arguments.work_dir)


def _manifest(arguments: argparse.Namespace) -> None:
    write_manifest(arguments.folder)


def _evaluate(arguments: argparse.Namespace) -> None:
    from training import evaluation  # noqa: PLC0415 - as above

    launch(evaluation.evaluate, arguments.work_dir, arguments.folder, arguments.prompts, arguments.guidance)


def _card(arguments: argparse.Namespace) -> None:
    from training import card  # noqa: PLC0415 - as above

    card.write_figures(arguments.work_dir, arguments.card)


def _grid(arguments: argparse.Namespace) -> None:
    from training import grid  # noqa: PLC0415 - as above

    grid.write(arguments.folder, arguments.out)


def _budget(arguments: argparse.Namespace) -> Budget:
    return Budget(minutes=arguments.minutes, steps=arguments.steps)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--work-dir", type=Path, default=Path(".train"), help="for checkpoints and previews")
    commands = parser.add_subparsers(required=True)
    trainings = (
        ("autoencoder", _autoencoder),
        ("text", _text),
        ("denoiser", _denoiser),
        ("refine", _refine),
        ("decoder", _decoder),
        ("classifier", _classifier),
    )
    for name, run in trainings:
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("--minutes", type=float, help="how long to train in all")
        command.add_argument("--steps", type=int, help="how many steps to train in all")
    command = commands.add_parser("latents")
    command.set_defaults(run=_latents)
    command.add_argument("--pictures", type=int, default=24_000)
    command = commands.add_parser("export")
    command.set_defaults(run=_export)
    command.add_argument("--folder", type=Path, default=_MODEL, help="the model's folder")
    command = commands.add_parser("unpack", help="makes of a shipped model what refine begins with")
    command.set_defaults(run=_unpack)
    command.add_argument("--folder", type=Path, default=_MODEL, help="the model's folder")
    command = commands.add_parser("manifest", help="describes the files anew when one was changed")
    command.set_defaults(run=_manifest)
    command.add_argument("--folder", type=Path, default=_MODEL, help="the model's folder")
    command = commands.add_parser("evaluate")
    command.set_defaults(run=_evaluate)
    command.add_argument("--folder", type=Path, default=_MODEL, help="the model's folder")
    command.add_argument("--prompts", type=int, default=400)
    command.add_argument("--guidance", type=float, default=None, help="default: the model's own")
    command = commands.add_parser("card", help="writes the evaluation's figures into the model card")
    command.set_defaults(run=_card)
    command.add_argument("--card", type=Path, default=_MODEL.parent / "README.md")
    command = commands.add_parser("grid")
    command.set_defaults(run=_grid)
    command.add_argument("--folder", type=Path, default=_MODEL, help="the model's folder")
    command.add_argument("--out", type=Path, default=_MODEL.parent / "samples.webp")
    return parser


if __name__ == "__main__":
    main()
