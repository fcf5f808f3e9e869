"""The configuration: dotted names, overlays in turn, and an error that names the nearest key."""

import re
from dataclasses import replace

import pytest
import yaml

from moonseg3r_core.config import Config, load_config
from moonseg3r_core.errors import ConfigError
from moonseg3r_core.settings import fixed_changes, list_settings, overlay, parse_set, to_dict


def test_later_overlays_win(tmp_path):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("map: {voxel: 0.05, samples: 3}\nmasks.kind: regions\n")
    second.write_text("map:\n  voxel: 0.04\n")
    config = load_config(first, second, overrides={"map.samples": "1"})
    assert (config.map.voxel, config.map.samples, config.masks.kind) == (0.04, 1, "regions")


def test_defaults_are_untouched():
    config = overlay(Config(), {"map.voxel": 0.1})
    assert config.map == replace(Config().map, voxel=0.1)
    assert replace(config, map=Config().map) == Config()


def test_every_key_survives_yaml(tmp_path):
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump(to_dict(Config())))
    assert load_config(file) == Config()


def test_every_key_has_help_and_a_default_within_its_own_range():
    for key in list_settings(Config()):
        assert key.help, key.name
        assert overlay(Config(), {key.name: str(key.value)}) == Config(), key.name


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mask.kind": "regions"}, "unknown key 'mask.kind'; did you mean 'masks.kind'"),
        ({"masks": "regions"}, "unknown key 'masks'"),
        ({"masks.kind": "region"}, "cropformer, got 'region'; did you mean 'regions'"),
        ({"map.voxel": "small"}, "map.voxel must be a number >= 0.001, got 'small'"),
        ({"map.voxel": -1}, "map.voxel must be a number >= 0.001, got -1"),
        ({"map.voxel": float("nan")}, "map.voxel must be a number >= 0.001, got nan"),
        ({"map.samples": 1.5}, "map.samples must be a whole number >= 1, got 1.5"),
        ({"map.samples": True}, "map.samples must be a whole number"),
        ({"map.voxel": None}, "map.voxel must be a number"),
        ({"fusion.merge_threshold": 2}, ">= -1 and <= 1"),
        ({"device": 3}, "device must be text, got 3"),
    ],
)
def test_bad_settings_say_what_is_wrong(settings, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        load_config(overrides=settings)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "is not valid YAML"),
        ("- 1", "must hold keys and values, got a list"),
        ("\x00", "is not valid YAML"),
        ("seed: 2024-13-45", "is not valid YAML: month must be"),
        ("seed: " + "1" * 5000, "is not valid YAML"),
        ("seed: !!int x", "is not valid YAML"),
        ("seed: !!bool x", "is not valid YAML"),
        ("seed: !!timestamp x", "is not valid YAML"),
        ("[" * 2000, "is not valid YAML"),
        ("&a {a: *a}", "is not valid YAML: an alias stands for another part"),
        ("seed: .inf", "seed must be a whole number >= 0, got inf"),
        ("seed: " + "x" * 10**5, r"got 'x{79}\.$"),
        ('"a\\nb": 1', "unknown key 'a b'"),
    ],
)
def test_bad_files_say_which(tmp_path, text, words):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words) as refused:
        load_config(file)
    assert len(str(refused.value).splitlines()) == 1


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot read "):
        load_config(tmp_path / "none.yaml")


def test_empty_file_is_the_defaults(tmp_path):
    file = tmp_path / "empty.yaml"
    file.write_text("")
    assert load_config(file) == Config()


def test_set_needs_an_equals_sign():
    assert parse_set(["a.b=1", "c==2"]) == {"a.b": "1", "c": "=2"}
    with pytest.raises(ConfigError, match=r"key=value, got 'masks\.kind'"):
        parse_set(["masks.kind"])


def test_what_may_change_while_a_map_exists():
    live = {key.name for key in list_settings(Config()) if key.live}
    assert {"masks.regions.scale", "fusion.match_threshold", "map.samples", "memory.index.max_keys"} <= live
    assert not {"device", "seed", "map.voxel", "fusion.overlap_voxel", "memory.index.cell", "features.cell"} & live
    assert not {key.name for key in list_settings(Config()) if key.name.endswith(".kind")} & live - {"masks.kind"}
    new = overlay(Config(), {"map.voxel": 0.05, "map.samples": 7, "device": "cpu"})
    assert fixed_changes(Config(), new) == {"map.voxel": (0.02, 0.05), "device": ("auto", "cpu")}
    assert fixed_changes(new, new) == {}


def test_what_would_stand_for_more_than_a_memory_is_refused_at_once(tmp_path):
    """Seven lines, each nine times the one before: five million settings."""
    lines = [f"a{n}: &a{n} {{{', '.join(f'b{m}: *a{n - 1}' for m in range(9))}}}" for n in range(1, 8)]
    (tmp_path / "c.yaml").write_text("\n".join(["a0: &a0 {x: 1}", *lines]))
    with pytest.raises(ConfigError, match="an alias stands for another part"):
        load_config(tmp_path / "c.yaml")
