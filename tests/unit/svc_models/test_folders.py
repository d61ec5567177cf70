"""Finding manifests in folders, with every problem told."""

from pathlib import Path

import pytest

from gpu_worker.models.builtin import install
from svc_models.tasks.catalogue import CatalogueError, publication_of, read_folders
from tests.factories.models import put_manifest


def test_models_are_found_in_their_own_or_their_revisions_folder(tmp_path: Path) -> None:
    put_manifest(tmp_path / "one", "b")
    put_manifest(tmp_path / "one", "a", within="a/7", revision="7")
    put_manifest(tmp_path / "two", "c")

    publication = publication_of(read_folders([tmp_path / "one", tmp_path / "two"]), None)

    assert {manifest.model_id for manifest in publication.served} == {"a", "b", "c"}
    assert publication.default_model_id == "a"


def test_older_revisions_are_found_but_not_served(tmp_path: Path) -> None:
    for revision in ("2", "10", "9"):
        put_manifest(tmp_path, "a", within=f"a/{revision}", revision=revision)

    publication = publication_of(read_folders([tmp_path]), None)

    assert [manifest.revision for manifest in publication.served] == ["10"]
    assert {manifest.revision for manifest in publication.manifests} == {"2", "9", "10"}


def test_built_in_model_is_understood(tmp_path: Path) -> None:
    install(tmp_path)

    publication = publication_of(read_folders([tmp_path]), None)

    assert publication.default_model_id == "pingvas-tiny"
    (manifest,) = publication.served
    assert "unet/diffusion_pytorch_model.safetensors" in {file.path for file in manifest.files}


def test_hidden_folders_are_models_in_the_making(tmp_path: Path) -> None:
    put_manifest(tmp_path, within=".a/1")
    put_manifest(tmp_path, within="a/.1-scratch")

    assert not read_folders([tmp_path])


def test_every_problem_of_every_manifest_is_told(tmp_path: Path) -> None:
    first = put_manifest(tmp_path, "a", family="", licence="")
    second = put_manifest(tmp_path, "b")
    second.write_text("{")

    with pytest.raises(CatalogueError) as refused:
        read_folders([tmp_path, tmp_path / "missing"])

    lines = str(refused.value).splitlines()[1:]
    assert [line.strip().partition(" must")[0].partition(" isn't")[0] for line in lines] == [
        f"{first}: family",
        f"{first}: licence",
        f"{second}:",
        f"{tmp_path / 'missing'}:",
    ]


def test_revision_that_two_manifests_describe_is_refused(tmp_path: Path) -> None:
    first = put_manifest(tmp_path, "a", within="here")
    second = put_manifest(tmp_path, "a", within="there")

    with pytest.raises(CatalogueError, match=f"{second}: describes a revision 1, as {first} does"):
        read_folders([tmp_path])


def test_default_that_is_not_there_is_refused_with_what_there_is(tmp_path: Path) -> None:
    put_manifest(tmp_path, "a")

    with pytest.raises(CatalogueError, match=r"DEFAULT_MODEL_ID can't be used: 'b' is none of the models .*: a"):
        publication_of(read_folders([tmp_path]), "b")


def test_no_folders_give_an_empty_publication() -> None:
    publication = publication_of(read_folders([]), None)

    assert not publication.manifests
    assert publication.default_model_id is None
