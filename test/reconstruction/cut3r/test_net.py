"""CUT3R's net by itself: rotations and heads that can be computed on paper, then properties of any weights."""

import math
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moonseg3r_core.reconstruction.cut3r.inference import cast_to_precision
from moonseg3r_core.reconstruction.cut3r.net import heads
from moonseg3r_core.reconstruction.cut3r.net.attention import StateAttention
from moonseg3r_core.reconstruction.cut3r.net.model import Cut3r, OutputRequest, make_state_positions
from moonseg3r_core.reconstruction.cut3r.net.rope import RoundedRotation, make_grid_positions, make_rotation
from moonseg3r_core.reconstruction.cut3r.net.sizes import SIZES, Cut3rSizes
from moonseg3r_core.reconstruction.cut3r.net.state import DAMPING, UPDATES, Braked, Damped, Gated, State
from moonseg3r_core.weights.catalog import CATALOG

TINY = SIZES["cut3r-tiny"]
LINEAR = replace(TINY, head="linear")
BOTH = pytest.mark.parametrize("sizes", [TINY, LINEAR], ids=["dpt", "linear"])
ALL_OUTPUTS = OutputRequest(colors=True, attention=StateAttention())


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def net(sizes=TINY, seed=0, **options):
    torch.manual_seed(seed)
    return Cut3r(sizes, rgb_head=True, **options).eval()


def image(batch=1, h=3, w=4, seed=0):
    return torch.rand(batch, 3, 16 * h, 16 * w, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def after(model, frames=2, batch=1):
    """A state that has seen frames."""
    state = model.start(batch)
    for number in range(frames):
        _, state = model(image(batch, seed=10 + number), state)
    return state


def tensors(outputs):
    named = {field.name: getattr(outputs, field.name) for field in fields(outputs)}
    return {name: value for name, value in named.items() if value is not None}


def assert_same(one, other, but=()):
    for name, value in tensors(one).items():
        assert name in but or value.equal(tensors(other)[name]), name


def assert_close(one, other, atol=1e-5):
    for name, value in tensors(one).items():
        torch.testing.assert_close(value.float(), tensors(other)[name].float(), atol=atol, rtol=1e-4, msg=name)


def test_a_head_of_four_channels_turns_by_its_row_and_its_column_in_radians():
    x = torch.tensor([1.0, 0.0, 0.0, 1.0]).reshape(1, 1, 1, 4)  # one pair for the row (1, 0), one for the column (0, 1)
    turned = make_rotation(torch.tensor([[2, 3]]), 4)(x).flatten()
    expected = torch.tensor([math.cos(2), math.sin(2), -math.sin(3), math.cos(3)])
    torch.testing.assert_close(turned, expected)


def test_the_second_pair_of_two_turns_a_tenth_as_fast_and_pairs_lie_two_apart():
    x = torch.tensor([1.0, 1.0, 0.0, 0.0] + 4 * [0.0]).reshape(1, 1, 1, 8)
    turned = make_rotation(torch.tensor([[2, 0]]), 8)(x).flatten()
    expected = torch.tensor([math.cos(2), math.cos(0.2), math.sin(2), math.sin(0.2)] + 4 * [0.0])
    torch.testing.assert_close(turned, expected)


def test_position_zero_turns_nothing_and_minus_one_undoes_one():
    x = torch.randn(2, 3, 1, 16)
    assert make_rotation(torch.zeros(1, 2, dtype=torch.long), 16)(x).equal(x)
    there, back = make_rotation(torch.tensor([[1, 1]]), 16), make_rotation(torch.tensor([[-1, -1]]), 16)
    assert not there(x).allclose(x)
    torch.testing.assert_close(back(there(x)), x)


@given(st.lists(st.integers(-1, 40), min_size=6, max_size=6))
@settings(max_examples=25, deadline=None)
def test_lengths_stay_and_products_know_only_the_difference_of_positions(numbers):
    q, k = torch.randn(2, 1, 1, 1, 16, dtype=torch.float32).unbind(0)
    a, b, shift = torch.tensor(numbers).reshape(3, 1, 2)

    def product(at_q, at_k):
        return (make_rotation(at_q, 16)(q) * make_rotation(at_k, 16)(k)).sum()

    torch.testing.assert_close(make_rotation(a, 16)(q).norm(), q.norm())
    torch.testing.assert_close(product(a, b), product(a + shift, b + shift), atol=1e-3, rtol=1e-3)


def test_a_rotation_gives_the_dtype_back_and_the_rounded_one_is_off_by_half_a_float16_step_twice():
    x, places = torch.randn(1, 1, 1, 16), torch.tensor([[5, 9]])
    assert make_rotation(places, 16)(x.bfloat16()).dtype == torch.bfloat16
    exact, rounded = make_rotation(places, 16)(x), make_rotation(places, 16, RoundedRotation)(x)
    assert rounded.dtype == torch.float32
    assert 0 < float((exact - rounded).abs().max()) <= 3 * 2**-11 * float(x.abs().max())
    assert rounded.equal(rounded.half().float())


def test_cells_go_row_by_row_and_state_tokens_lie_on_a_square_of_even_width():
    assert make_grid_positions(2, 3).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert make_state_positions(Cut3rSizes())[[0, 27, 28, 767]].tolist() == [[0, 0], [0, 27], [1, 0], [27, 11]]
    assert make_state_positions(TINY)[[7, 8]].tolist() == [[0, 7], [1, 0]]  # 50: 7 columns, made 8
    assert make_state_positions(replace(TINY, state_positions="1d"))[[0, 5]].tolist() == [[0, 0], [5, 5]]
    assert make_state_positions(replace(TINY, state_positions="none")) is None


def test_a_point_keeps_its_direction_and_goes_exp_minus_one_far():
    raw = torch.tensor([[0.0, 3.0, 4.0], [0.0, 0.0, 0.0], [0.0, 0.0, -0.1]])
    far, near = math.expm1(5), math.expm1(0.1)
    torch.testing.assert_close(
        heads.activate_points(raw), torch.tensor([[0, 0.6 * far, 0.8 * far], [0, 0, 0], [0, 0, -near]])
    )


def test_a_pose_has_a_unit_quaternion_of_positive_w_and_its_translation_goes_as_points_do():
    raw = torch.tensor([[1.0, 0, 0, -3, 0, 4, 0], [0, 0, 0, 2, 0, 0, 0]])
    expected = torch.tensor([[math.expm1(1), 0, 0, 0.6, 0, -0.8, 0], [0, 0, 0, 1, 0, 0, 0]])
    torch.testing.assert_close(heads.activate_pose(raw), expected)


def test_confidence_is_one_and_more_and_colors_lie_within_one():
    assert heads.activate_confidence(torch.tensor([[9.0, 9.0, 9.0, 0.0], [0.0, 0.0, 0.0, -50.0]])).tolist() == [
        2.0,
        1.0,
    ]
    torch.testing.assert_close(heads.activate_colors(torch.tensor([0.0, 1.0])), torch.tensor([0.0, math.tanh(0.5)]))
    assert heads.activate_colors(torch.tensor([-99.0, 99.0])).abs().max() < 1


def test_the_linear_head_lays_a_token_out_channel_by_channel_then_row_by_row():
    tokens = torch.arange(2 * 3 * 256.0).reshape(1, 2, 768)  # a grid of one row and two cells, three channels
    picture = heads.apply_mlp(lambda x: x, [tokens], (1, 2))
    assert picture.shape == (1, 16, 32, 3)
    assert picture[0, 0, 0].tolist() == [0, 256, 512]
    assert picture[0, 2, 5].tolist() == [37, 293, 549]  # pixel (2, 5) of cell 0: 2 * 16 + 5
    assert picture[0, 0, 16].tolist() == [768, 1024, 1280]


@BOTH
def test_the_linear_head_mirrors_what_lies_behind_the_camera_and_the_dense_one_does_not(sizes):
    torch.manual_seed(0)
    head = heads.HEADS[sizes.head](sizes, False)
    own, world = (head.proj, head.cross_proj) if sizes.head == "linear" else (head.dpt_self, head.dpt_cross)
    world.load_state_dict(own.state_dict())
    layers = [10 * torch.randn(1, 12, width) for width in (sizes.enc_dim, 48, 48, 48)]
    plain, _ = head.predict_world_points(layers, (3, 4))
    assert plain[..., 2].min() < 0 < plain[..., 2].max()
    sign = plain[..., 2:].sign() if sizes.head == "linear" else 1.0
    torch.testing.assert_close(head.predict_self_points(layers, (3, 4))[0], plain * sign)


@BOTH
@pytest.mark.parametrize(("h", "w"), [(3, 4), (5, 3), (1, 1), (2, 7)])
def test_any_grid_odd_or_upright_gives_a_value_to_every_pixel(sizes, h, w):
    outputs, state = net(sizes)(image(2, h, w), net(sizes).start(2), ALL_OUTPUTS)
    shapes = {name: tuple(value.shape) for name, value in tensors(outputs).items()}
    assert shapes == {
        "self_points": (2, 16 * h, 16 * w, 3), "self_confidence": (2, 16 * h, 16 * w), "pose": (2, 7),
        "features": (2, h, w, 48), "world_points": (2, 16 * h, 16 * w, 3), "world_confidence": (2, 16 * h, 16 * w),
        "attention": (2, 50, h, w), "colors": (2, 16 * h, 16 * w, 3),
    }  # fmt: skip
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in tensors(outputs).values())
    assert state.tokens.shape == (2, 50, 48)
    assert bool(state.tokens.isfinite().all() & state.memory.isfinite().all())


def test_upright_is_not_lying():
    model, picture = net(), image()
    lying, _ = model(picture, model.start())
    upright, _ = model(picture.transpose(2, 3).contiguous(), model.start())
    assert not upright.self_confidence.transpose(1, 2).allclose(lying.self_confidence, atol=1e-4)


def test_the_whole_net_of_512_has_as_many_weights_as_published():
    with torch.device("meta"):
        model = Cut3r(SIZES["cut3r-512"], rgb_head=True, ray_encoder=True)
    count = sum(weight.numel() for weight in model.parameters())
    assert count == 793_307_858
    assert abs(4 * count - CATALOG["cut3r-512"].size) < 10e6  # what `moonseg3r weights list` says
    assert len(model.state_dict()) == 1248


@BOTH
def test_what_is_not_built_is_not_in_the_state_dict_and_the_rest_is_the_same(sizes):
    lean, whole = Cut3r(sizes).state_dict(), Cut3r(sizes, rgb_head=True, ray_encoder=True).state_dict()
    left_out = {
        ".".join(name.split(".")[:2]) if "rgb" in name else name.split(".")[0] for name in whole.keys() - lean.keys()
    }
    rays = {"patch_embed_ray_map", "enc_blocks_ray_map", "enc_norm_ray_map", "masked_img_token", "masked_ray_map_token"}
    assert lean.keys() < whole.keys()
    assert left_out == rays | {f"downstream_head.{'dpt_rgb' if sizes.head == 'dpt' else 'rgb_proj'}"}


def test_colors_need_the_head_that_makes_them():
    model = Cut3r(TINY)
    with pytest.raises(RuntimeError, match="rgb_head=True"):
        model(image(), model.start(), OutputRequest(colors=True))


def test_a_convolution_with_two_names_is_one_tensor():
    state = Cut3r(TINY).state_dict()
    for number in range(4):
        one = state[f"downstream_head.dpt_self.scratch.layer_rn.{number}.weight"]
        assert one.data_ptr() == state[f"downstream_head.dpt_self.scratch.layer{number + 1}_rn.weight"].data_ptr()


@BOTH
def test_the_same_view_and_state_give_the_same_and_leave_both_as_they_were(sizes):
    model = net(sizes)
    state, picture = after(model), image(seed=5)
    before = state.tokens.clone(), state.memory.clone(), picture.clone()
    (one, next_one), (other, next_other) = model(picture, state, ALL_OUTPUTS), model(picture, state, ALL_OUTPUTS)
    assert_same(one, other)
    assert next_one.tokens.equal(next_other.tokens)
    assert next_one.memory.equal(next_other.memory)
    assert all(kept.equal(now) for kept, now in zip(before, (state.tokens, state.memory, picture), strict=True))
    assert not next_one.tokens.allclose(state.tokens, atol=1e-2)
    assert not next_one.memory.allclose(state.memory, atol=1e-2)


def test_an_image_may_come_encoded():
    model = net()
    state = after(model)
    (one, _), (other, _) = model(image(), state, ALL_OUTPUTS), model(model.encode(image()), state, ALL_OUTPUTS)
    assert_same(one, other)


def test_rays_add_to_what_an_image_tells():
    model = net(ray_encoder=True)
    rays = torch.randn(1, 48, 64, 6)
    seen, cast = model.encode(image()), model.encode_rays(rays)
    assert cast.grid == seen.grid == (3, 4)
    assert (seen + cast).features.equal(seen.features + cast.features)
    assert not model(seen + cast, model.start())[0].pose.allclose(model(seen, model.start())[0].pose, atol=1e-5)


@BOTH
def test_the_elements_of_a_batch_know_nothing_of_one_another(sizes):
    model = net(sizes)
    pictures, state = image(3, seed=1), after(model, batch=3)
    state = state.select(torch.tensor([True, False, True]), model.start(3))  # one of them begins
    together, next_together = model(pictures, state, ALL_OUTPUTS)
    for row in range(3):
        alone = State(state.tokens[row : row + 1], state.memory[row : row + 1], state.fresh[row : row + 1])
        outputs, next_alone = model(pictures[row : row + 1], alone, ALL_OUTPUTS)
        assert_close(
            outputs, type(outputs)(**{name: value[row : row + 1] for name, value in tensors(together).items()})
        )
        torch.testing.assert_close(next_alone.tokens[0], next_together.tokens[row], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(next_alone.memory[0], next_together.memory[row], atol=1e-5, rtol=1e-4)


def test_where_takes_whole_rows():
    ones = State(torch.ones(2, 3, 4), torch.ones(2, 5, 8), torch.tensor([True, True]))
    twos = State(2 * ones.tokens, 2 * ones.memory, torch.tensor([False, False]))
    mixed = ones.select(torch.tensor([True, False]), twos)
    assert mixed.tokens[:, 0, 0].tolist() == mixed.memory[:, 0, 0].tolist() == [1, 2]
    assert mixed.fresh.tolist() == [True, False]


def test_a_first_frame_takes_the_learned_pose_token_and_a_later_one_reads_the_memory():
    model = net()
    start, state = model.start(), after(model)
    assert start.fresh.tolist() == [True]
    assert state.fresh.tolist() == [False]
    for before, matters in ((start, False), (state, True)):
        other = State(before.tokens, before.memory.flip(2) + 1, before.fresh)
        same = model(image(), other)[0].pose.equal(model(image(), before)[0].pose)
        assert same is not matters


@BOTH
def test_without_the_world_head_all_else_is_the_same_to_the_bit(sizes):
    model = net(sizes)
    state = after(model)
    whole, after_whole = model(image(), state, ALL_OUTPUTS)
    less, after_less = model(image(), state, replace(ALL_OUTPUTS, world=False))
    assert less.world_points is less.world_confidence is None
    assert_same(
        less, replace(whole, world_points=None, world_confidence=None), but=("world_points", "world_confidence")
    )
    assert after_less.tokens.equal(after_whole.tokens)
    assert after_less.memory.equal(after_whole.memory)
    assert model(image(), state)[0].attention is model(image(), state)[0].colors is None


def turned(x, positions):
    """Rotary positions by complex numbers, the plain twin: x (..., N, width) by positions (N, 2)."""
    pairs = x.shape[-1] // 4
    real, imaginary = x.unflatten(-1, (2, 2, pairs)).unbind(-2)
    angles = positions[:, :, None] * 100.0 ** (-torch.arange(pairs) / pairs)
    product = torch.complex(real, imaginary) * torch.polar(torch.ones_like(angles), angles)
    return torch.stack((product.real, product.imag), -2).flatten(-3)


def logits(model, tokens, state):
    """The state branch's scaled logits (B, L, heads, S, 1 + N), from what its projections gave in one pass."""
    seen = {}
    for layer, block in enumerate(model.dec_blocks_state):
        for name in ("projq", "projk"):
            project = getattr(block.cross_attn, name)
            project.register_forward_hook(lambda _m, _x, out, key=(layer, name): seen.update({key: out}))
    outputs, updated = model(tokens, state, OutputRequest())
    places = torch.cat((torch.tensor([[-1, -1]]), make_grid_positions(*tokens.grid)))
    turns = {"projq": make_state_positions(model.sizes), "projk": places}
    parts = {}
    for (layer, name), value in seen.items():
        part = value.unflatten(-1, (model.sizes.state_heads, -1)).transpose(1, 2)
        parts[layer, name] = turned(part, turns[name])
    layers = range(len(model.dec_blocks_state))
    products = [parts[layer, "projq"] @ parts[layer, "projk"].transpose(-1, -2) for layer in layers]
    return torch.stack(products, 1) / math.sqrt(part.shape[-1]), outputs, updated


@pytest.mark.parametrize(("layers", "head"), [(None, None), ((0,), 0), ((-2, 1), 5)])
def test_attention_is_the_softmax_over_all_keys_without_the_pose_tokens_column(layers, head):
    model = net()
    tokens, state = model.encode(image(2)), after(model, batch=2)
    full = logits(model, tokens, state)[0].softmax(-1)
    chosen = full[:, range(4) if layers is None else list(layers)].mean(1)
    chosen = chosen.mean(1) if head is None else chosen[:, head]
    outputs, _ = model(tokens, state, OutputRequest(attention=StateAttention(layers, head)))
    torch.testing.assert_close(outputs.attention, chosen[..., 1:].unflatten(-1, (3, 4)), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(outputs.attention.sum((2, 3)) + chosen[..., 0], torch.ones(2, 50))
    assert (chosen[..., 0] > 0.001).all()


@BOTH
def test_recording_attention_changes_nothing(sizes):
    model = net(sizes)
    state = after(model)
    recorded, after_recorded = model(image(), state, OutputRequest(attention=StateAttention()))
    plain, after_plain = model(image(), state)
    assert_close(
        replace(recorded, attention=torch.zeros(1), colors=torch.zeros(1)),
        replace(plain, attention=torch.zeros(1), colors=torch.zeros(1)),
    )
    torch.testing.assert_close(after_recorded.tokens, after_plain.tokens, atol=1e-5, rtol=1e-4)


def test_the_gate_goes_as_far_as_the_sigmoid_of_the_mean_logit_and_all_the_way_at_first():
    plain, gated = net(), net(update=Gated())
    tokens = plain.encode(image(2, seed=4))
    state = after(plain, batch=2).select(torch.tensor([True, False]), plain.start(2))
    scores, _, candidate = logits(plain, tokens, state)
    _, updated = gated(tokens, state)
    share = scores.mean((1, 2, 4)).sigmoid()[..., None]
    torch.testing.assert_close(
        updated.tokens[0], (state.tokens + share * (candidate.tokens - state.tokens))[0], atol=1e-5, rtol=1e-4
    )
    assert updated.tokens[1].equal(candidate.tokens[1])
    assert updated.memory.equal(candidate.memory)
    assert float((updated.tokens[0] - candidate.tokens[0]).abs().max()) > 0.1


class Logits:
    """A hook that has measured the mean logits log 3, whose sigmoid is 3/4."""

    def compute_mean(self):
        return torch.full((1, 2), math.log(3))


def test_damped_goes_a_constant_share_of_the_gate_and_all_the_way_at_first():
    tokens, candidate = torch.zeros(1, 2, 2), torch.tensor([[[4.0, 0], [0, 8]]])
    for fresh, share in ((False, 0.75 * DAMPING), (True, 1)):
        state = State(tokens, torch.zeros(1, 1, 4), torch.tensor([fresh]))
        moved, change = Damped()(state, candidate, Logits())
        torch.testing.assert_close(moved, share * candidate)
        assert change is None


def test_brake_holds_back_the_token_that_keeps_going_one_way():
    """Changes of 4: the first token goes on as before (cos 1), the second turns at a right angle (cos 0)."""
    before = torch.tensor([[[1.0, 0], [1, 0]]])
    state = State(torch.zeros(1, 2, 2), torch.zeros(1, 1, 4), torch.tensor([False]), before)
    candidate = torch.tensor([[[4.0, 0], [0, 4]]])
    moved, change = Braked()(state, candidate, Logits())
    shares = torch.tensor([0.75 / (1 + math.e), 0.75 / 2])
    torch.testing.assert_close(moved, shares[:, None] * candidate)
    assert change.equal(candidate)
    moved, change = Braked()(replace(state, fresh=torch.tensor([True])), candidate, Logits())
    assert moved.equal(candidate)
    assert change.equal(candidate)


def test_a_net_remembers_its_change_for_the_rule_that_needs_it_alone():
    for name, update in UPDATES.items():
        model = net(update=update())
        start, state = model.start(2), after(model, frames=1, batch=2)
        assert [s.change is not None for s in (start, state, state.select(torch.tensor([True, False]), start))] == [
            name == "brake"
        ] * 3
    assert start.change.equal(torch.zeros_like(start.tokens))
    torch.testing.assert_close(state.change, state.tokens - start.tokens)
    assert state.select(torch.tensor([True, False]), start).change[1].equal(start.change[1])


@BOTH
@pytest.mark.parametrize(("dtype", "share"), [(torch.bfloat16, 0.03), (torch.float16, 0.004)])
def test_reduced_precision_stays_near_and_gives_float32(sizes, dtype, share):
    model = net(sizes)
    state = after(model)
    exact, next_exact = model(image(), state, ALL_OUTPUTS)
    with torch.autocast("cpu", dtype=dtype):
        outputs, updated = model(image(), state, ALL_OUTPUTS)
    pairs = [(value, tensors(exact)[name]) for name, value in tensors(outputs).items() if name != "self_points"]
    pairs += [(updated.tokens, next_exact.tokens), (updated.memory, next_exact.memory)]
    for near, far in pairs:
        assert near.dtype == torch.float32
        assert 0 < float((near - far).norm() / far.norm()) < share


@BOTH
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_weights_kept_in_half_give_what_autocast_gives(sizes, precision):
    dtype = getattr(torch, precision)
    plain, kept = net(sizes), cast_to_precision(net(sizes), precision)
    assert kept.enc_blocks[0].attn.qkv.weight.dtype == dtype
    assert kept.downstream_head.pose_head.mlp.fc1.weight.dtype == torch.float32
    assert_same(plain.start(), kept.start())
    with torch.autocast("cpu", dtype=dtype):
        one, other = (model(image(), model.start(), ALL_OUTPUTS) for model in (plain, kept))
    assert_same(one[0], other[0])
    assert_same(one[1], other[1])
    assert cast_to_precision(plain, "float32").enc_blocks[0].attn.qkv.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("attention", "message"),
    [
        (StateAttention((4,)), r"attention layers must lie in -4 to 3, got \(4,\)"),
        (StateAttention(head=6), "attention head must lie in 0 to 5, got 6"),
    ],
)
def test_attention_that_is_not_there_is_refused_in_words(attention, message):
    model = net()
    with pytest.raises(ValueError, match=message):
        model(image(), model.start(), OutputRequest(attention=attention))
