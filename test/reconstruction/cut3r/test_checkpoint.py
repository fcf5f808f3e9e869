"""Weights of CUT3R: official pickles read without running them, every key accounted for, and the way to safetensors."""

import argparse
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import safetensors.torch
import torch
from official_checkpoints import DPT, LINEAR, WHOLE, model_line, official, weights

from moonseg3r_core.errors import InputError, OutputError
from moonseg3r_core.reconstruction.cut3r.args import parse_model, read_sizes
from moonseg3r_core.reconstruction.cut3r.checkpoint import convert, load_cut3r
from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r
from moonseg3r_core.reconstruction.cut3r.net.sizes import SIZES

PARITY = Path(__file__).resolve().parents[4] / "shared" / "parity" / "cut3r"
golden = pytest.mark.skipif(not PARITY.is_dir(), reason="needs ../shared/parity/cut3r")


@pytest.fixture
def pth(tmp_path):
    return official(tmp_path / "cut3r.pth")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """What `convert` writes, in bytes."""
    folder = tmp_path_factory.mktemp("converted")
    convert(official(folder / "a.pth"), folder / "b.safetensors")
    return (folder / "b.safetensors").read_bytes()


def same(net, expected):
    """Whether a net holds these tensors, to the last bit, under every name that it has."""
    state = net.state_dict()
    return all(tensor.equal(expected[name]) for name, tensor in state.items())


@golden
@pytest.mark.parametrize("name", ["tiny_dpt", "tiny_linear"])
def test_the_imitation_of_the_official_files_gives_their_tensors(name, tmp_path):
    file, expected = PARITY / name / "checkpoint_like_official.pth", PARITY / name / "model.safetensors"
    tensors = safetensors.torch.load_file(expected)
    convert(file, tmp_path / "converted.safetensors")
    for path in (file, tmp_path / "converted.safetensors"):
        net = load_cut3r(path, **WHOLE)
        assert net.state_dict().keys() == tensors.keys()
        assert same(net, tensors)
    assert (net.sizes.state_heads, net.sizes.memory_size, net.sizes.image_size) == (6, 10, 64)
    assert name != "tiny_dpt" or (net.sizes.dpt_width, net.sizes.dpt_last) == (24, 10)
    assert "omegaconf" not in sys.modules


@golden
@pytest.mark.parametrize(("name", "file"), [("cut3r-512", "cut3r_512_dpt"), ("cut3r-224", "cut3r_224_linear")])
def test_the_manifests_have_the_sizes_of_the_table(name, file):
    shapes = json.loads((PARITY / f"{file}_state_dict.json").read_text())
    tensors = {key: torch.empty(shape, device="meta") for key, (shape, _) in shapes.items()}
    said = model_line(SIZES[name], state_dec_num_heads=..., local_mem_size=...)
    assert read_sizes(parse_model(said), tensors) == SIZES[name]


@pytest.mark.parametrize("sizes", [DPT, LINEAR], ids=["dpt", "linear"])
def test_there_and_back(sizes, tmp_path):
    path = official(tmp_path / "a.pth", sizes)
    convert(path, tmp_path / "new folder" / "b.safetensors")
    convert(tmp_path / "new folder" / "b.safetensors", tmp_path / "c.safetensors")
    for file in (path, tmp_path / "new folder" / "b.safetensors", tmp_path / "c.safetensors"):
        net = load_cut3r(file, **WHOLE)
        assert net.sizes == sizes
        assert net.state_dict().keys() == weights(sizes).keys()
        assert same(net, weights(sizes))
    assert (tmp_path / "c.safetensors").read_bytes() == (tmp_path / "new folder" / "b.safetensors").read_bytes()


def test_a_loaded_net_is_ready(pth):
    net = load_cut3r(pth, rope_fp16=True)
    assert not net.training
    assert not any(p.requires_grad or p.is_meta or p.dtype != torch.float32 for p in net.parameters())
    torch.manual_seed(0)
    twin = Cut3r(DPT, rope_fp16=True).eval()
    twin.load_state_dict({name: weights()[name] for name in twin.state_dict()})
    image = torch.rand(1, 3, 48, 64) * 2 - 1
    with torch.no_grad():
        (a, _), (b, _) = net(image, net.start()), twin(image, twin.start())
    assert a.pose.equal(b.pose)
    assert a.world_points.equal(b.world_points)


def test_each_tensor_stands_once_in_what_is_converted(pth, tmp_path):
    convert(pth, tmp_path / "b.safetensors")
    with safetensors.safe_open(tmp_path / "b.safetensors", "pt") as file:
        assert len(file.keys()) == len({tensor.data_ptr() for tensor in weights().values()}) == len(weights()) - 12
        assert json.loads(file.metadata()["cut3r"])["sizes"]["state_size"] == 50


def test_other_makings_of_the_args(tmp_path, monkeypatch):
    """OmegaConf's, of a module that is there when the file is written and gone when it is read; and a plain dict."""
    module = ModuleType("a_configuration_library")
    for name in ("DictConfig", "AnyNode", "Metadata"):
        setattr(module, name, type(name, (), {"__module__": module.__name__}))
    node, args = module.AnyNode(), module.DictConfig()
    node._val, node._metadata = model_line(DPT), module.Metadata()
    args._content, args._metadata, args._parent = {"model": node, "seed": module.AnyNode()}, module.Metadata, None
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        official(tmp_path / "a.pth", args=args)
    official(tmp_path / "b.pth", args={"model": model_line(DPT)})
    assert load_cut3r(tmp_path / "a.pth").sizes == load_cut3r(tmp_path / "b.pth").sizes == DPT


def renamed(tensors, **changes):
    """Other tensors under some names; None takes one out."""
    return {name: tensor for name, tensor in {**tensors, **changes}.items() if tensor is not None}


def test_the_prefix_of_parallel_training(tmp_path):
    wrapped = {f"module.{name}": tensor for name, tensor in weights().items()}
    assert same(load_cut3r(official(tmp_path / "a.pth", model=wrapped)), weights())
    half = {f"module.{name}" if name > "e" else name: tensor for name, tensor in weights().items()}
    with pytest.raises(InputError, match=r"of its keys are unknown: module\."):
        load_cut3r(official(tmp_path / "b.pth", model=half))


def test_a_checkpoint_without_state_blocks_gets_copies_of_the_image_blocks(tmp_path):
    old = {name: tensor for name, tensor in weights().items() if not name.startswith("dec_blocks_state")}
    convert(official(tmp_path / "a.pth", model=old), tmp_path / "b.safetensors")
    for file in ("a.pth", "b.safetensors"):
        net = load_cut3r(tmp_path / file)
        ours, theirs = net.dec_blocks.state_dict(), net.dec_blocks_state.state_dict()
        assert all(ours[name].equal(theirs[name]) for name in ours)
        assert not {t.data_ptr() for t in ours.values()} & {t.data_ptr() for t in theirs.values()}


def test_some_state_blocks_are_not_enough(tmp_path):
    last = f"dec_blocks_state.{DPT.dec_depth - 1}."
    old = {name: tensor for name, tensor in weights().items() if not name.startswith(last)}
    with pytest.raises(InputError, match=rf"are missing: {re.escape(last)}"):
        load_cut3r(official(tmp_path / "a.pth", model=old))


def test_second_names_may_lack_but_not_differ(tmp_path):
    second = "downstream_head.dpt_self.scratch.layer_rn.2.weight"
    first = "downstream_head.dpt_self.scratch.layer3_rn.weight"
    for name in (first, second):
        assert same(
            load_cut3r(official(tmp_path / "a.pth", model=renamed(weights(), **{name: None})), **WHOLE), weights()
        )
    with pytest.raises(InputError, match=r"1 of its keys are other than their twins: .*layer"):
        load_cut3r(official(tmp_path / "a.pth", model=renamed(weights(), **{second: weights()[first] + 1})))
    with pytest.raises(InputError, match="1 of its keys are missing"):
        load_cut3r(official(tmp_path / "a.pth", model=renamed(weights(), **{second: None, "dec_norm.bias": None})))


@pytest.mark.parametrize("sizes", [DPT, LINEAR], ids=["dpt", "linear"])
def test_parts_that_are_not_built_may_lack(sizes, tmp_path):
    bare = Cut3r(sizes).state_dict()
    convert(official(tmp_path / "a.pth", sizes, model=bare), tmp_path / "b.safetensors")
    assert same(load_cut3r(tmp_path / "b.safetensors"), bare)
    with pytest.raises(InputError, match=r"are missing: downstream_head\.(dpt_rgb|rgb_proj)"):
        load_cut3r(tmp_path / "b.safetensors", rgb_head=True)
    with pytest.raises(InputError, match=r"are missing: .*ray_map"):
        load_cut3r(tmp_path / "a.pth", ray_encoder=True)


NAN = torch.full((48,), float("nan"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dec_norm.bias": None}, r"1 of its keys are missing: dec_norm\.bias; get the file again"),
        ({f"surplus.{k}": NAN for k in range(6)}, r"6 of its keys are unknown: surplus\.0, .*, surplus\.3 and 2 more; get"),
        ({"dec_norm.bias": torch.zeros(49)}, r"of another shape: dec_norm\.bias \(expected \(48,\), got \(49,\)\)"),
        ({"dec_norm.bias": torch.zeros(48, dtype=torch.int64)}, r"not floating-point: dec_norm\.bias"),
        ({"dec_norm.bias": NAN}, r"not finite: dec_norm\.bias"),
        ({"dec_norm.bias": 3}, "must hold tensors only in `model`, got 'dec_norm.bias'"),
    ],
)  # fmt: skip
def test_weights_of_another_net_are_refused(tmp_path, changes, words):
    path = official(tmp_path / "a.pth", model=renamed(weights(), **changes))
    with pytest.raises(InputError, match=words):
        load_cut3r(path)


def test_weights_of_another_net_are_not_converted(tmp_path):
    path = official(tmp_path / "a.pth", model=renamed(weights(), **{"dec_norm.bias": NAN}))
    with pytest.raises(InputError, match="not finite"):
        convert(path, tmp_path / "b.safetensors")
    assert list(tmp_path.iterdir()) == [path]


def test_halves_and_doubles_become_floats(tmp_path):
    halves = {name: tensor.half() for name, tensor in weights().items()}
    expected = {name: tensor.float() for name, tensor in halves.items()}
    assert same(load_cut3r(official(tmp_path / "a.pth", model=halves), **WHOLE), expected)


def test_a_description_is_parsed():
    text = "ARCroco3DStereo(ARCroco3DStereoConfig(a=-inf, b=('x', 1, inf), c=[2, (3,)], d=None, e=-0.5, f=True))\n"
    inf = float("inf")
    assert parse_model(text) == {"a": -inf, "b": ("x", 1, inf), "c": (2, (3,)), "d": None, "e": -0.5, "f": True}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "f(",
        "Net(a=1)",
        "Net(Config(a=b))",
        "Net(Config(a=__import__('os').system('true')))",
        "Net(Config(a=1)); f()",
    ],
)
def test_other_text_is_refused(text):
    with pytest.raises(InputError, match=r"args\.model must read ARCroco3DStereo"):
        parse_model(text)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"pos_embed": "cosine"}, "the checkpoint's pos_embed must be RoPE100, got 'cosine'; give"),
        ({"pose_head": False}, "pose_head must be True, got False"),
        ({"dec_depth": "12"}, "dec_depth must be a whole number from 1 to 65536, got '12'"),
        ({"head_type": "linear"}, "are unknown: downstream_head.dpt"),
        ({"enc_num_heads": 5}, r"enc_dim must be a multiple of 4 x 5 \(enc_heads\), got 64"),
        ({"dec_depth": 5}, r"26 of its keys are missing|keys are missing: dec_blocks\.4"),
        ({"enc_embed_dim": ..., "img_size": ...}, r"args\.model must name enc_embed_dim, img_size too"),
    ],
)  # fmt: skip
def test_descriptions_of_another_net_are_refused(tmp_path, others, words):
    path = official(tmp_path / "a.pth", args=argparse.Namespace(model=model_line(DPT, **others)))
    with pytest.raises(InputError, match=words):
        load_cut3r(path)


def test_an_unknown_word_is_said(tmp_path, caplog):
    known = {"patch_embed_cls": "ManyAR_PatchEmbed", "landscape_only": False, "freeze": "encoder", "patch_size": 16}
    load_cut3r(official(tmp_path / "a.pth", args={"model": model_line(DPT, **known)}))
    assert not caplog.records
    load_cut3r(official(tmp_path / "a.pth", args={"model": model_line(DPT, novelty=3)}))
    assert "novelty=3, which is not known here and left out" in caplog.text


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: p.unlink(), "cannot read .*No such file"),
        (lambda p: p.write_bytes(b""), "must be a whole file of torch.save, got a damaged one or another .*; download or copy"),
        (lambda p: p.write_bytes(p.read_bytes()[:100_000]), "must be a whole file of torch.save"),
        (lambda p: torch.save({"model": {}}, p, _use_new_zipfile_serialization=False), "must be a whole file of torch.save"),
        (lambda p: torch.save(weights(), p), "must hold `model` and `args` .*, got masked_img_token, "),
        (lambda p: official(p, args=...), "must hold `model` and `args`.* got model, optimizer, scaler, epoch"),
        (lambda p: official(p, args={"model": 3}), r"args\.model must be the text that describes the net"),
    ],
)  # fmt: skip
def test_a_pickle_that_is_not_whole_is_refused(pth, damage, words):
    damage(pth)
    with pytest.raises(InputError, match=words):
        load_cut3r(pth)


def header(path, facts):
    tensors = safetensors.torch.load_file(path)
    safetensors.torch.save_file(tensors, path, facts)


def sized(path, **changes):
    with safetensors.safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["cut3r"])
    header(path, {"cut3r": json.dumps({**facts, "sizes": facts["sizes"] | changes})})


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: p.unlink(), "cannot read .*No such file"),
        (lambda p: p.write_bytes(b""), "must be a whole safetensors file, got a damaged one"),
        (lambda p: p.write_bytes(p.read_bytes()[:-1]), "got a damaged one"),
        (lambda p: header(p, None), "must say in its header what net it is of, .*: moonseg3r weights get cut3r-512 --from"),
        (lambda p: header(p, {"cut3r": "{"}), "must say its net's sizes in its header"),
        (lambda p: sized(p, head="none"), "got others .*head"),
        (lambda p: sized(p, enc_depth=3), "are missing: enc_blocks.2"),
    ],
)  # fmt: skip
def test_safetensors_that_are_not_ours_or_not_whole(converted, tmp_path, damage, words):
    path = tmp_path / "b.safetensors"
    path.write_bytes(converted)
    damage(path)
    with pytest.raises(InputError, match=words):
        load_cut3r(path)


def test_weights_that_must_be_those_of_a_name(pth, tmp_path):
    convert(pth, tmp_path / "b.safetensors", "cut3r-tiny")
    with pytest.raises(
        InputError, match=r"must hold cut3r-512, got a net with enc_dim 64 instead of 1024, .*; give that"
    ):
        convert(pth, tmp_path / "c.safetensors", "cut3r-512")
    assert not (tmp_path / "c.safetensors").exists()


def test_a_folder_that_cannot_be(pth, tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        convert(pth, pth / "b.safetensors")


def anonymous():
    """MiB of memory that stand for no file."""
    return int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc")
def test_an_optimizer_is_not_read(tmp_path):
    path = official(tmp_path / "a.pth", optimizer={"state": torch.zeros(20_000_000)})
    load_cut3r(path)
    before = anonymous()
    net = load_cut3r(path)
    assert anonymous() - before < 30
    assert same(net, weights())
    assert path.stat().st_size > 80_000_000


def test_writing_into_a_net_leaves_its_file_alone(pth, tmp_path):
    convert(pth, tmp_path / "b.safetensors")
    for path in (pth, tmp_path / "b.safetensors"):
        before = path.read_bytes()
        net = load_cut3r(path)
        for parameter in net.parameters():
            parameter.data.add_(1)
        assert path.read_bytes() == before
        assert same(load_cut3r(path), weights())
