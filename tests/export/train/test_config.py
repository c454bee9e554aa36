"""Recipes: what is bundled, what is refused and how the refusal reads."""

import dataclasses

import pytest

from edgetrack.errors import InputError
from edgetrack.export.train.config import TrainConfig, bundled_configs, find_config, load_config
from edgetrack.export.train.sections import as_table, differences, override


def write(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", bundled_configs())
def test_bundled_recipes_are_sound(name):
    config = load_config(find_config(name))
    assert config.steps_per_epoch(1) >= 1


def test_published_recipes_have_the_published_numbers():
    frame, distill, sparse = (load_config(find_config(name)) for name in ("frame", "distill", "sparse"))
    assert [c.stage for c in (frame, distill, sparse)] == ["frame", "distill", "sparse"]
    assert [c.optimiser.lr for c in (frame, distill, sparse)] == [4e-4, 4e-5, 4e-6]
    assert [c.optimiser.backbone_multiplier for c in (frame, distill, sparse)] == [0.1, 1.0, 0.1]
    assert [c.optimiser.weight_decay for c in (frame, distill, sparse)] == [1e-4, 1e-4, 0.05]
    assert [c.optimiser.clip for c in (frame, distill, sparse)] == [0.1, 0.1, 100.0]
    assert [(c.run.epochs, c.optimiser.drop_epoch) for c in (frame, distill, sparse)] == [
        (500, 400),
        (500, 400),
        (20, 0),
    ]
    assert [c.sampler.gap for c in (frame, distill)] == [300, 200]
    assert sparse.sparse.clip.gap == 300
    assert (frame.steps_per_epoch(4), sparse.steps_per_epoch(1)) == (600, 125)
    assert distill.exits == tuple(range(5, 16))
    assert {(c.model.depth, c.model.templates, c.run.seed) for c in (frame, distill, sparse)} == {(15, 5, 1008)}
    published = dataclasses.asdict(frame.sampler)
    assert (published["centre_jitter"], published["scale_jitter"]) == (3.5, 0.5)
    assert (published["gray"], published["joint_flip"], published["flip"]) == (0.05, 0.5, 0.5)
    assert not any(published[key] for key in ("contrast", "blur", "occlusion", "motion", "distractor"))
    assert (frame.loss.siou, frame.loss.ce, distill.loss.kl, frame.loss.aux) == (2.0, 2.0, 0.01, 0.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[optimiser]\nlearning_rate = 1", r"unknown key optimiser\.learning_rate; .*has lr, "),
        ("[optimiser]\nwarmup_step = 1", "did you mean warmup_steps"),
        ("[optimizer]\nlr = 1", "unknown key optimizer; did you mean optimiser"),
        ("[model]\ndepth = 16", "model.depth is 16; give an integer from 1 to 15"),
        ("[model]\ndepth = 6.5", "model.depth is 6.5; give an integer"),
        ("[model]\ndepth = true", "model.depth is True"),
        ("[optimiser]\nlr = -1.0", "optimiser.lr is -1.0; give a number from 0 up"),
        ("[optimiser]\nlr = nan", "optimiser.lr is nan"),
        ('[optimiser]\nlr = "fast"', "optimiser.lr is fast"),
        ('stage = "first"', "stage is first; give one of frame, distill, sparse"),
        ("[run]\nprefetch = 1", "run.prefetch is 1; give true or false"),
        ("[distill]\nexits = [5, 4]", "give each depth once, ascending"),
        ("[distill]\nexits = [5.5]", "distill.exits is .*; give a list of integers"),
        ("[model]\ndepth = 6\n[distill]\nexits = [7]", "give depths from 1 to 6"),
        ("[sampler]\ntemplates = 3", "leave sampler.templates out"),
        ("[sampler]\nsearch_size = 256", "the network takes 112 and 224"),
        ('[sampler]\nratios = "coco=much"', r"\[sampler\] ratios"),
        ("[sparse]\nclips = 0", r"sparse\.clips is 0; give an integer from 1 up"),
        ("[sparse.clip]\nframes = 1", r"sparse\.clip\.frames is 1"),
        ("model = 3", r"model is 3; write a section \[model\]"),
        ("[run]\nsamples_per_epoch = 31", "one step takes 32"),
        ("[run", "is not TOML"),
    ],
)
def test_mistakes_are_named_with_their_remedy(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=message) as found:
        load_config(path)
    assert str(path) in str(found.value)
    assert "\n" not in str(found.value)


def test_a_missing_recipe_names_the_bundled_ones(tmp_path):
    with pytest.raises(InputError, match="one of distill, frame, "):
        find_config("franme")
    with pytest.raises(InputError, match="check the path"):
        load_config(tmp_path / "absent.toml")


def test_settings_on_the_command_line(tmp_path):
    path = write(tmp_path, "[model]\ndepth = 6\ntemplates = 2")
    config = load_config(
        path,
        ["optimiser.lr=1e-3", "init.source=scratch", "distill.exits=[4, 6]", "sparse.clip.frames=8", "stage=distill"],
    )
    assert (config.optimiser.lr, config.init.source, config.model.depth) == (1e-3, "scratch", 6)
    assert (config.exits, config.sparse.clip.frames, config.stage) == ((4, 6), 8, "distill")
    assert config.sampler.templates == 2, "follows model.templates"
    for bad in ("optimiser.lr", "=3", ".lr=3"):
        with pytest.raises(InputError, match="sets nothing"):
            override({}, [bad])
    with pytest.raises(InputError, match=r"optimiser\.lr is fast"):
        load_config(path, ["optimiser.lr=fast"])


def test_shallow_networks_have_their_exits():
    config = load_config(find_config("distill"), ["model.depth=6"])
    assert config.exits == (5, 6)
    assert load_config(find_config("distill"), ["model.depth=3"]).exits == (3,)


def test_differences_are_named():
    one = as_table(TrainConfig())
    other = as_table(load_config(find_config("frame"), ["run.seed=5", "sparse.clip.gap=7"]))
    assert differences(one, one) == []
    assert {"run.seed", "sparse.clip.gap"} <= set(differences(one, other))
