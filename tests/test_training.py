"""Training: it learns, it resumes bit for bit after kills, it stops on NaN, it saves on signals."""

from __future__ import annotations

import json
import math
import random
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
import torch

from sunfish.checkpoint import load_checkpoint, load_trainer, read_about
from sunfish.config import Config
from sunfish.model.attention import Layer
from sunfish.objective import Losses
from sunfish.optim import learning_rate_factor, update_average
from sunfish.presets import preset
from sunfish.train import NotFinite, Trainer, train
from sunfish.types import Batch

SHAPE = dict(
    n_layer=1, n_head=1, n_embd=16, vocab_size=320, context_length=256, stories=120, batch_size=4, threads=1,
    precision="float32", max_minutes=0.0, log_every=1, eval_every=1000, sample_every=1000, save_every=3, eval_texts=8,
)  # fmt: skip


def config(folder: Path, **values: object) -> Config:
    return preset(
        "nano", **{**SHAPE, "checkpoints": str(folder / "ck"), "data_folder": str(folder / "data"), **values}
    )


def losses(folder: Path) -> dict[int, set[float]]:
    """Every loss that was ever logged for each step."""
    found: dict[int, set[float]] = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if "loss" in record:
            found.setdefault(record["step"], set()).add(record["loss"])
    return found


def run_script(settings: Config, resume: bool) -> subprocess.Popen[bytes]:
    code = (
        "import json, sys; from pathlib import Path; from sunfish.config import Config; from sunfish.train import train\n"
        f"c = Config.from_dict(json.loads({json.dumps(json.dumps(settings.to_dict()))}))\n"
        f"last = Path(c.training.checkpoints) / 'last.ckpt'\n"
        f"train(c, last if {resume} and last.exists() else None)"
    )
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)


def test_resuming_after_kills_is_bit_for_bit(tmp_path: Path) -> None:
    """The same losses as the run that nobody disturbed, after SIGKILLs and a SIGTERM at random moments."""
    steps = 60
    whole = config(tmp_path, name="whole", max_steps=steps)
    train(whole)
    expected = losses(tmp_path / "ck" / "whole")
    assert sorted(expected) == list(range(1, steps + 1))
    # Its own folder of checkpoints: last.ckpt names the newest run of a folder.
    broken = config(tmp_path, name="broken", max_steps=steps, checkpoints=str(tmp_path / "ck2"))
    folder = tmp_path / "ck2" / "broken"
    dice = random.Random(7)
    for number, kind in enumerate((signal.SIGKILL, signal.SIGTERM, signal.SIGKILL)):
        process = run_script(broken, resume=True)
        seen = max(losses(folder), default=0) if (folder / "metrics.jsonl").exists() else 0
        target = min(steps - 5, seen + 6 + dice.randrange(6))
        deadline = time.time() + 60
        while time.time() < deadline and process.poll() is None:
            if (folder / "metrics.jsonl").exists() and max(losses(folder), default=0) >= target:
                break
            time.sleep(0.005)
        time.sleep(dice.random() * 0.05)
        process.send_signal(kind)
        process.wait(30)
        assert process.returncode != 0, f"run {number} ended before it could be killed"
        link = tmp_path / "ck2" / "last.ckpt"
        assert read_about(link)["step"] >= 3 and load_trainer(link)["step"] == read_about(link)["step"]
    assert run_script(broken, resume=True).wait(60) == 0
    assert losses(folder) == expected
    one, two = (load_checkpoint(tmp_path / at / "last.ckpt").model.state_dict() for at in ("ck", "ck2"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_it_learns_and_reports(tmp_path: Path) -> None:
    settings = config(tmp_path, name="learns", max_steps=40, eval_every=20, sample_every=40)
    last = train(settings)
    records = [json.loads(line) for line in (tmp_path / "ck/learns/metrics.jsonl").read_text().splitlines()]
    first = next(r for r in records if "train_loss" in r)
    assert first["train_loss"] == pytest.approx(math.log(320), abs=0.3)
    validations = [r for r in records if "validation/bound" in r]
    assert [r["step"] for r in validations] == [20, 40]
    assert validations[1]["validation/bound"] < validations[0]["validation/bound"] < math.log(320) + 1
    assert validations[1]["validation/next_token"] < math.log(320)
    assert (tmp_path / "ck/learns/samples.md").read_text().startswith("## step 40")
    assert (last / "README.md").read_text().startswith("---")
    padding = [record["padding"] for record in records if "padding" in record]
    assert sum(padding) / len(padding) <= 0.10


def test_slow_steps_are_saved_and_shown_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seldom = dict(max_steps=4, save_every=1000, sample_every=1000)
    for minutes, shown in [(0.0, [4]), (60.0, [4]), (1e-9, [1, 2, 3, 4])]:
        name = f"clock{minutes}"
        train(config(tmp_path, name=name, save_minutes=minutes, **seldom))
        samples = (tmp_path / "ck" / name / "samples.md").read_text().splitlines()
        assert [line for line in samples if line.startswith("## ")] == [f"## step {step}" for step in shown]
    trainer = Trainer(config(tmp_path, name="cut", save_minutes=1e-9, **seldom))
    whole = trainer.train_step

    def cut() -> tuple[Losses, Batch]:
        if trainer.step == 3:
            raise RuntimeError("power cut")
        return whole()

    monkeypatch.setattr(trainer, "train_step", cut)
    with pytest.raises(RuntimeError, match="power cut"):
        trainer.run()
    assert read_about(tmp_path / "ck/cut/last.ckpt")["step"] == 3


def test_samples_by_steps_do_not_put_off_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = dict(max_steps=5, sample_every=1, save_every=1000, save_minutes=2.5)
    trainer = Trainer(config(tmp_path, name="often", **often))
    whole, saved = trainer.train_step, []

    def slow() -> tuple[Losses, Batch]:
        trainer.seconds += 60
        return whole()

    monkeypatch.setattr(trainer, "train_step", slow)
    save = trainer.save
    monkeypatch.setattr(trainer, "save", lambda best=False: saved.append(trainer.step) or save(best))
    trainer.run()
    assert saved == [3, 5]


def test_a_signal_saves_at_the_step_boundary(tmp_path: Path) -> None:
    settings = config(tmp_path, name="signal", max_steps=100_000, save_every=50_000)
    process = run_script(settings, resume=False)
    metrics = tmp_path / "ck/signal/metrics.jsonl"
    while not (metrics.exists() and len(losses(metrics.parent)) > 3):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.wait(30)
    step = read_about(tmp_path / "ck/last.ckpt")["step"]
    assert step == max(losses(metrics.parent))


def test_nan_stops_with_step_batch_and_last_good_checkpoint(tmp_path: Path) -> None:
    trainer = Trainer(config(tmp_path, name="nan", max_steps=10))
    trainer.train_step()
    saved = trainer.save()
    with torch.no_grad():
        trainer.model.output_gain.fill_(float("nan"))
    with pytest.raises(
        NotFinite, match=r"step 1: loss nan.*rows \[.*last good checkpoint is .*last.ckpt"
    ) as error:
        trainer.train_step()
    assert "--learning_rate" in str(error.value)
    assert torch.isfinite(load_checkpoint(saved).model.output_gain).all()


def test_a_second_run_never_overwrites_the_first(tmp_path: Path) -> None:
    settings = config(tmp_path, name="twice", max_steps=3)
    train(settings)
    with pytest.raises(ValueError, match=r"twice already holds a run.*--resume"):
        train(settings)


def test_thinning_keeps_last_best_and_milestones(tmp_path: Path) -> None:
    train(config(tmp_path, name="thin", max_steps=27))
    kept = sorted(int(p.name.removeprefix("step-")) for p in (tmp_path / "ck/thin").glob("step-*"))
    assert kept == [3, 6, 12, 24, 27]
    assert (tmp_path / "ck/thin/step-0000027/trainer/state.pt").is_file()
    with pytest.raises(ValueError, match="thinned"):
        load_trainer(tmp_path / "ck/thin/step-0000012")
    assert load_checkpoint(tmp_path / "ck/thin/step-0000012").step == 12


def test_the_folder_of_a_run_is_told_from_its_checkpoint(tmp_path: Path) -> None:
    train(config(tmp_path, name="run", max_steps=2))
    with pytest.raises(ValueError, match=r"folder of a run; its last checkpoint is .*run/last\.ckpt"):
        read_about(tmp_path / "ck/run")


def test_learning_rate_warms_up_holds_and_falls_to_zero() -> None:
    training = config(Path("."), warmup_steps=10, decay_fraction=0.5).training
    assert learning_rate_factor(training, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate_factor(training, 50, 0.4) == 1.0
    assert learning_rate_factor(training, 50, 0.75) == pytest.approx(0.5)
    assert learning_rate_factor(training, 50, 1.0) == 0.0


def test_average_follows_the_weights() -> None:
    model, average = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    before = average.weight.detach().clone()
    update_average(average, model, 0.9, step=10_000)
    torch.testing.assert_close(average.weight, 0.9 * before + 0.1 * model.weight)


def test_trackers_get_every_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracker that is asked for by name gets what metrics.jsonl gets; one that is missing is an error."""
    seen: list[tuple[int, dict[str, float]]] = []
    library = types.SimpleNamespace(
        init=lambda **about: seen.append((0, about)),
        log=lambda values, step: seen.append((step, values)),
        finish=lambda: seen.append((-1, {})),
    )
    monkeypatch.setitem(sys.modules, "trackio", library)
    train(config(tmp_path, name="tracked", max_steps=2, trackers=("trackio",)))
    lines = [json.loads(line) for line in (tmp_path / "ck/tracked/metrics.jsonl").read_text().splitlines()]
    expected = [(r.pop("step"), r) for r in lines if r.pop("time")]
    assert seen[0][1]["name"] == "tracked" and seen[1:-1] == expected and seen[-1][0] == -1
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(
        ValueError, match=r"'wandb', which is not installed: \./run\.sh -m pip install -e '\.\[log\]'"
    ):
        train(config(tmp_path, name="missing", max_steps=2, trackers=("wandb",)))
    with pytest.raises(ValueError, match="trackers has"):
        config(tmp_path, trackers=("paper",))


def test_resuming_a_finished_run_leaves_its_checkpoint_alone(tmp_path: Path) -> None:
    settings = config(tmp_path, name="done", max_steps=3)
    last = train(settings)
    before = (last / "config.json").stat()
    assert train(settings, tmp_path / "ck/done/last.ckpt") == last
    after = (last / "config.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("name", ["prompt_tokenizer.json", "tokenizer.json", "model.safetensors"])
def test_a_checkpoint_that_lost_a_file_is_refused(tmp_path: Path, name: str) -> None:
    last = train(config(tmp_path, name="whole", max_steps=1))
    if name == "prompt_tokenizer.json":  # as a run with an hf: prompt encoder has it
        about = json.loads((last / "config.json").read_text())
        about["files"][name] = "0" * 64
        (last / "config.json").write_text(json.dumps(about))
    else:
        (last / name).unlink()
    with pytest.raises(ValueError, match=rf"{name} is missing or damaged"):
        load_checkpoint(last)


def test_a_checkpoint_with_another_shape_or_half_a_config_is_refused(tmp_path: Path) -> None:
    last = train(config(tmp_path, name="edited", max_steps=1))
    about = json.loads((last / "config.json").read_text())
    width = about["config"]["model"]["n_embd"]
    about["config"]["model"]["n_embd"] = 2 * width
    (last / "config.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"its weights do not fit its config.json"):
        load_checkpoint(last)
    del about["files"]
    (last / "config.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"damaged \(no 'files'\)"):
        load_checkpoint(last)


def test_prompts_that_were_cut_inside_a_letter_can_be_sampled(tmp_path: Path) -> None:
    """With bytes, and a vocabulary that the tokenizer does not fill: neither may end a run."""
    path = tmp_path / "tales.jsonl"
    record = {"prompt": "x" + "ü" * 20, "text": "Die Sonne scheint."}
    path.write_text("".join(json.dumps(record | {"text": f"Tag {i}."}) + "\n" for i in range(60)))
    settings = config(tmp_path, name="cut", max_steps=2, data=str(path), prompt_field="prompt", tokenizer="bytes",
                      prompt_length=8, batch_size=4)  # fmt: skip
    trainer = Trainer(settings)
    assert trainer.prepared.tokenizer.size < settings.model.vocab_size
    prompts = [prompt for prompt, _ in trainer.sample()]
    assert prompts[0].startswith("xüü") and prompts[2] == ""
    assert trainer.run().is_dir()


@pytest.mark.parametrize("limit", [dict(max_steps=8), dict(max_steps=0)])
def test_a_run_with_a_limit_may_read_first(tmp_path: Path, limit: dict[str, int]) -> None:
    """The canvas has no loss in the first half of the steps, and one ever after; without a limit there is no half."""
    trainer = Trainer(config(tmp_path, read_first=0.5, **limit))
    canvas = []
    for _ in range(8):
        losses, _ = trainer.train_step()
        assert float(losses.next_token) > 0
        canvas.append(float(losses.canvas) > 0)
    assert canvas == ([False] * 4 + [True] * 4 if limit["max_steps"] else [True] * 8)


def test_a_run_that_reads_first_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(config(tmp_path, read_first=0.5, max_steps=8, name="reader"))
    said = capsys.readouterr().err
    assert "the first 50% of the run only read" in said
    assert "step 4  only reads  next_token" in said and "step 5  train_loss" in said
    lines = (tmp_path / "ck" / "reader" / "metrics.jsonl").read_text().splitlines()
    steps = [record for record in map(json.loads, lines) if "loss" in record]
    assert [("train_loss" in record, "canvas_loss" in record) for record in steps] == [(False, False)] * 4 + [
        (True, True)
    ] * 4


def test_texts_that_are_denoised_twice_are_learned(tmp_path: Path) -> None:
    trainer = Trainer(config(tmp_path, complementary=True, max_steps=40))
    seen = [float(trainer.train_step()[0].canvas) for _ in range(40)]
    assert sum(seen[-8:]) < 0.9 * sum(seen[:8])


def test_dropout_is_resumed_bit_for_bit_and_leaves_the_average_alone(tmp_path: Path) -> None:
    whole = config(tmp_path, name="whole", max_steps=6, dropout=0.3)
    train(whole)
    halves = config(tmp_path, name="halves", max_steps=3, dropout=0.3, decay_fraction=0.0)
    train(halves)
    last = tmp_path / "ck" / "halves" / "last.ckpt"
    torch.rand(5)  # what else was drawn must not matter
    train(halves.with_fields(max_steps=6), last)
    straight = config(tmp_path, name="straight", max_steps=6, dropout=0.3, decay_fraction=0.0)
    train(straight)
    assert losses(tmp_path / "ck" / "halves") == losses(tmp_path / "ck" / "straight")
    without = config(tmp_path, name="without", max_steps=6)
    train(without)
    one, other = (losses(tmp_path / "ck" / name) for name in ("whole", "without"))
    assert one[1] != other[1] or one[6] != other[6]
    trainer = Trainer(whole.with_fields(name="another"))
    assert all(layer.dropout == 0.3 and layer.training for layer in trainer.model.layers)
    assert not any(layer.training for layer in trainer.average.layers)


def test_dropout_keeps_the_mean_and_drops_its_share() -> None:
    layer = Layer(preset("nano").model, cross=False)
    layer.dropout = 0.25
    torch.manual_seed(0)
    found = layer._dropped(torch.ones(200_000))
    assert float((found == 0).float().mean()) == pytest.approx(0.25, abs=0.005)
    assert float(found.mean()) == pytest.approx(1, abs=0.01)
    assert torch.equal(layer.eval()._dropped(torch.ones(9)), torch.ones(9))


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_dropout_that_leaves_nothing_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=rf"dropout is {share}: give a share from 0 up to below 1"):
        preset("nano", dropout=share)
