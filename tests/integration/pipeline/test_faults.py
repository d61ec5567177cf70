"""Broken models, broken pictures, and memory that runs out: refused by name, and the next job is healthy."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gpu_worker.models.files import ModelFilesError, ModelSpec, ModelUnusableError, list_files
from gpu_worker.render.families.memory import is_out_of_memory
from gpu_worker.render.interface import InvalidOutputError, LoraUse, OutOfMemoryError, RenderSpec, StepReport
from gpu_worker.render.pipeline import DiffusersPipeline
from tests.factories.renders import draw, never, render_spec

ModelOf = Callable[[str], ModelSpec]
EXHAUSTIONS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


@pytest.fixture
def spec(model_of: ModelOf) -> RenderSpec:
    return render_spec(model_of("sd15"))


def copied(models_dir: Path, model: ModelSpec, name: str) -> tuple[ModelSpec, Path]:
    """Copies a model's folder under another name, for a test to break it."""
    copy = replace(model, model_id=name)
    folder = copy.folder(models_dir)
    shutil.copytree(model.folder(models_dir), folder, dirs_exist_ok=True)
    return copy, folder


def with_weights(models_dir: Path, model: ModelSpec, part: str, name: str, value: float) -> ModelSpec:
    """Adds a model with all numbers of one weight changed, and a specification that says so."""
    copy, folder = copied(models_dir, model, f"changed-{part}-{value}".replace("+", ""))
    path = folder / part / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights[name].fill_(value)
    save_file(weights, path, metadata={"format": "pt"})
    return replace(copy, files=list_files(folder))


def test_weights_that_are_not_finite_are_the_model_s_fault(
    models_dir: Path, pipeline: DiffusersPipeline, spec: RenderSpec
) -> None:
    broken = with_weights(models_dir, spec.model, "unet", "conv_out.bias", torch.nan)
    reports: list[StepReport] = []
    with pytest.raises(ModelUnusableError, match=r"unet: 1 weights hold .* not finite, such as conv_out\.bias"):
        pipeline.render(replace(spec, model=broken), reports.append, never)
    assert reports == []
    assert draw(pipeline, spec).std() > 10


def test_model_that_draws_nothing_finite_is_at_fault(
    models_dir: Path, pipeline: DiffusersPipeline, spec: RenderSpec
) -> None:
    broken = with_weights(models_dir, spec.model, "unet", "conv_out.bias", 3e38)
    with pytest.raises(ModelUnusableError, match="draws nothing valid: the model produced numbers that are not finite"):
        draw(pipeline, replace(spec, model=broken))


def test_decoder_that_is_broken_is_the_model_s_fault(
    models_dir: Path, pipeline: DiffusersPipeline, spec: RenderSpec
) -> None:
    broken = with_weights(models_dir, spec.model, "vae", "decoder.conv_out.bias", torch.inf)
    with pytest.raises(ModelUnusableError, match=r"vae: .*decoder\.conv_out\.bias"):
        draw(pipeline, replace(spec, model=broken))


def test_model_that_draws_black_alone_is_at_fault(
    models_dir: Path, pipeline: DiffusersPipeline, spec: RenderSpec
) -> None:
    broken = with_weights(models_dir, spec.model, "vae", "decoder.conv_out.bias", -1000.0)
    with pytest.raises(ModelUnusableError, match="draws nothing valid: the picture is black everywhere"):
        draw(pipeline, replace(spec, model=broken))


def test_what_a_lora_breaks_is_not_the_model_s_fault(
    models_dir: Path, own_pipeline: DiffusersPipeline, spec: RenderSpec
) -> None:
    folder = models_dir / "lora-endless" / "1"
    folder.mkdir(parents=True)
    save_file({"lora_unet_conv_out.diff_b": torch.full((4,), 3e38)}, folder / "lora.safetensors")
    lora = LoraUse(ModelSpec("lora-endless", "1", "sd15", list_files(folder)), 1.0)
    # Of a model that hasn't drawn yet, and of one that has.
    for _ in range(2):
        with pytest.raises(InvalidOutputError, match="not finite"):
            draw(own_pipeline, replace(spec, loras=(lora,)))
        assert draw(own_pipeline, spec).std() > 10


@pytest.mark.parametrize("exhaustion", EXHAUSTIONS, ids=["gpu", "cpu", "python"])
@pytest.mark.parametrize("family", ["sd15", "flux"])
def test_job_whose_memory_ran_out_once_is_rendered_with_less(
    model_of: ModelOf, own_pipeline: DiffusersPipeline, family: str, exhaustion: Exception
) -> None:
    spec = render_spec(model_of(family))
    before = draw(own_pipeline, spec)
    reports: list[StepReport] = []

    def exhaust_once(report: StepReport) -> None:
        reports.append(report)
        if len(reports) == 2:
            raise exhaustion

    pipe = own_pipeline._models.get(spec.model).pipe
    picture = own_pipeline.render(spec, exhaust_once, never).images[0].pixels
    assert [report.step for report in reports] == [1, 2, 1, 2, 3]
    # Slices add up in another order: the same picture but for its last bits.
    assert np.abs(picture.astype(int) - before).max() <= 2
    assert own_pipeline._models.get(spec.model).pipe is not pipe
    assert not own_pipeline._models.get(spec.model).pipe.vae.use_tiling
    assert np.array_equal(draw(own_pipeline, spec), before)


def test_second_try_slices_attention_and_decodes_in_tiles(own_pipeline: DiffusersPipeline, spec: RenderSpec) -> None:
    draw(own_pipeline, spec)
    seen: list[tuple[bool, bool]] = []

    def look(_report: StepReport) -> None:
        pipe = own_pipeline._models.get(spec.model).pipe
        processors = {type(processor).__name__ for processor in pipe.unet.attn_processors.values()}
        seen.append((pipe.vae.use_tiling, processors == {"SlicedAttnProcessor"}))
        if len(seen) == 1:
            raise torch.OutOfMemoryError

    own_pipeline.render(spec, look, never)
    assert seen == [(False, False), *[(True, True)] * 3]
    with pytest.raises(ZeroDivisionError):
        own_pipeline.render(spec, lambda report: 1 // (report.step - 1), never)
    own_pipeline.render(spec, look, never)
    assert seen[4:] == [(False, False)] * 3


def test_memory_that_does_not_suffice_twice_frees_the_models_and_leaves_the_next_job_healthy(
    own_pipeline: DiffusersPipeline, spec: RenderSpec
) -> None:
    before = draw(own_pipeline, spec)

    def exhaust(_report: StepReport) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(OutOfMemoryError) as caught:
        own_pipeline.render(spec, exhaust, never)
    # The failed run's tensors live as long as its traceback, so it must not hang on the error.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert own_pipeline.loaded_models == frozenset()
    assert np.array_equal(draw(own_pipeline, spec), before)


def test_other_errors_are_not_taken_for_exhaustion(own_pipeline: DiffusersPipeline, spec: RenderSpec) -> None:
    assert not is_out_of_memory(RuntimeError("The size of tensor a (3) must match"))

    def fail(_report: StepReport) -> None:
        raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        own_pipeline.render(spec, fail, never)


def test_model_with_a_wrong_hash_is_refused_before_it_is_loaded(
    own_pipeline: DiffusersPipeline, spec: RenderSpec
) -> None:
    files = tuple(
        replace(file, sha256="0" * 64) if file.path.startswith("unet/d") else file for file in spec.model.files
    )
    with pytest.raises(ModelFilesError, match="does not have the SHA-256"):
        draw(own_pipeline, replace(spec, model=replace(spec.model, files=files)))
    assert own_pipeline.loaded_models == frozenset()


def test_model_with_a_pickle_is_refused_even_when_it_is_specified(
    models_dir: Path, own_pipeline: DiffusersPipeline, spec: RenderSpec
) -> None:
    pickled, folder = copied(models_dir, spec.model, "pickled")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({}, folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(ModelFilesError, match="weights must be safetensors"):
        draw(own_pipeline, replace(spec, model=replace(pickled, files=list_files(folder))))


def test_model_that_names_a_class_from_elsewhere_is_refused(
    models_dir: Path, own_pipeline: DiffusersPipeline, spec: RenderSpec
) -> None:
    foreign, folder = copied(models_dir, spec.model, "foreign")
    index = json.loads((folder / "model_index.json").read_bytes())
    index["unet"] = ["subprocess", "Popen"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ModelUnusableError, match="subprocess"):
        draw(own_pipeline, replace(spec, model=replace(foreign, files=list_files(folder))))


def test_folder_of_two_checkpoints_is_no_model(
    models_dir: Path, own_pipeline: DiffusersPipeline, spec: RenderSpec
) -> None:
    double, folder = copied(models_dir, spec.model, "double")
    (folder / "config").mkdir(exist_ok=True)
    (folder / "model_index.json").replace(folder / "config" / "model_index.json")
    for name in ("one", "two"):
        save_file({"x": torch.zeros(1)}, folder / f"{name}.safetensors")
    with pytest.raises(ModelUnusableError, match=r"one \.safetensors"):
        draw(own_pipeline, replace(spec, model=replace(double, files=list_files(folder))))
