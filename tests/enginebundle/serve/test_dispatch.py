"""The inputs of a call: names, dtypes, sizes, and the tightest profile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from enginebundle.errors import InputError, RuntimeFailure
from enginebundle.format.spec import Profile, Range, TensorSpec
from enginebundle.serve.dispatch import Intake, bind, by_name, choose, expected, hold, tensors_of

IDS = TensorSpec("ids", "int64", ("b", "s"))
MASK = TensorSpec("mask", "int64", ("b", "s", 1))


def profile(name: str, b: tuple[int, int, int], s: tuple[int, int, int]) -> Profile:
    return Profile(name, (("b", Range(*b)), ("s", Range(*s))))


SHORT = profile("short", (1, 4, 8), (8, 32, 64))
LONG = profile("long", (1, 8, 32), (32, 128, 256))


def test_torch_and_numpy_are_taken_as_they_are() -> None:
    array = np.zeros((2, 3), dtype=np.int64)
    mask = torch.zeros(2, 3, 1, dtype=torch.int64)
    taken = tensors_of((IDS, MASK), {"ids": array, "mask": mask})
    array[0, 0] = 7
    assert taken["ids"][0, 0] == 7
    assert taken["mask"].data_ptr() == mask.data_ptr()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3)[:, ::-1],
        np.arange(6).reshape(3, 2).T,
        np.arange(6).reshape(2, 3).astype(">i8"),
        np.broadcast_to(np.int64(3), (2, 3)),
    ],
)
def test_odd_numpy_layouts_are_copied(array: np.ndarray) -> None:  # type: ignore[type-arg]
    assert tensors_of((IDS,), {"ids": array})["ids"].tolist() == array.tolist()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"expected the inputs \['ids'\]; missing \['ids'\], unknown \[\]"),
        ({"ids": torch.zeros(1), "idz": 1}, r"missing \[\], unknown \['idz'\]"),
        ({"ids": torch.zeros(2, 3)}, r"'ids': expected int64, got float32; convert it first"),
        (
            {"ids": [[1]]},
            "expected a torch tensor, a NumPy array or a tensor that offers DLPack, got list",
        ),
        ({"ids": np.array([["a"]])}, "NumPy dtype <U1"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tensors_of((IDS,), given)


def test_symbols_are_read_from_the_shapes() -> None:
    assert bind((IDS, MASK), {"ids": (2, 9), "mask": (2, 9, 1)}) == {"b": 2, "s": 9}
    assert bind((TensorSpec("x", "int64", (3, "b")),), {"x": (3, 5)}) == {"b": 5}
    doubled = TensorSpec("pairs", "int64", ("2*b", "max(s, 4)"))
    assert bind((doubled, IDS), {"pairs": (4, 9), "ids": (2, 9)}) == {"b": 2, "s": 9}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            {"ids": (2,), "mask": (2, 9, 1)},
            r"'ids': expected 2 dimensions \[b, s\], got shape \[2\]",
        ),
        (
            {"ids": (2, 9), "mask": (3, 9, 1)},
            "dimension 0 is 'b', which is 2 in input 'ids', but got 3",
        ),
        ({"ids": (2, 9), "mask": (2, 9, 4)}, r"'mask': expected 1 as dimension 2 of \[b, s, 1\]"),
    ],
)
def test_shapes_that_disagree_are_refused(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        bind((IDS, MASK), shapes)


@pytest.mark.parametrize(
    ("b", "s", "name"), [(1, 8, "short"), (4, 40, "short"), (9, 40, "long"), (8, 65, "long")]
)
def test_the_tightest_profile_that_contains_the_sizes(b: int, s: int, name: str) -> None:
    for order in ((SHORT, LONG), (LONG, SHORT)):
        assert choose(order, {"b": b, "s": s}).name == name


def test_every_size_of_a_range_counts_its_ends_too() -> None:
    """Seven shapes are fewer than eight, though a range of its own reaches further."""
    seven, eight = profile("seven", (1, 7, 7), (1, 1, 1)), profile("eight", (1, 1, 4), (1, 1, 2))
    ten, nine = profile("ten", (1, 1, 1), (1, 1, 10)), profile("nine", (1, 3, 3), (1, 3, 3))
    for order in ((seven, eight, ten, nine), (nine, ten, eight, seven)):
        assert choose(order, {"b": 1, "s": 1}).name == "seven"
    for order in ((ten, nine), (nine, ten)):
        assert choose(order, {"b": 1, "s": 1}).name == "nine"


def test_of_equally_wide_profiles_the_nearest_optimum() -> None:
    small, large = profile("a", (1, 2, 16), (1, 1, 1)), profile("b", (1, 14, 16), (1, 1, 1))
    assert choose((small, large), {"b": 12, "s": 1}).name == "b"


def test_outside_every_profile_says_why_for_each() -> None:
    with pytest.raises(InputError) as caught:
        choose((SHORT, LONG), {"b": 40, "s": 7})
    assert str(caught.value) == (
        "no profile contains b=40, s=7 (short: b must be 1 to 8, got 40, s must be 8 to 64, got 7; "
        "long: b must be 1 to 32, got 40, s must be 32 to 256, got 7); the nearest is 'short'. "
        "Pad, split or crop the input, or build a profile for it"
    )


def test_a_profile_without_symbols_fits_everything() -> None:
    assert choose((Profile("fixed", ()),), {}).name == "fixed"


def test_what_torch_cannot_share_is_copied_into_memory_of_its_own() -> None:
    locked = np.zeros((2, 3), dtype=np.int64)
    locked.flags.writeable = False
    for array in (locked, np.zeros((3, 2), dtype=np.int64).T):
        tensor = tensors_of((IDS,), {"ids": array})["ids"]
        tensor[0, 0] = 7
        assert tensor.is_contiguous()
        assert array[0, 0] == 0


class Offers:
    """A tensor of another library's."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    def __dlpack__(self, **options: object) -> object:
        return self.tensor.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.tensor.__dlpack_device__()


def test_what_offers_dlpack_shares_its_memory() -> None:
    own = torch.arange(6).reshape(2, 3)
    tensor = tensors_of((IDS,), {"ids": Offers(own)})["ids"]
    tensor[0, 0] = 7
    assert own[0, 0] == 7
    with pytest.raises(InputError, match="expected int64, got float32"):
        tensors_of((IDS,), {"ids": Offers(torch.ones(2, 3))})
    broken = Offers(own)
    broken.tensor = torch.ones(2, requires_grad=True)
    with pytest.raises(InputError, match="'ids': Offers by DLPack: "):
        tensors_of((IDS,), {"ids": broken})


@pytest.mark.parametrize(
    ("tensor", "told"),
    [
        (torch.ones(2, 3, dtype=torch.int64).to_sparse(), "sparse_coo on cpu"),
        (torch.ones(2, 3, dtype=torch.int64).to_sparse_csr(), "sparse_csr on cpu"),
        (torch.ones(2, 3, dtype=torch.int64, device="meta"), "strided on meta"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_a_tensor_without_dense_numbers_is_refused(tensor: torch.Tensor, told: str) -> None:
    with pytest.raises(InputError, match=f"'ids': expected a dense tensor .* got {told}"):
        tensors_of((IDS,), {"ids": tensor})


NESTED = tuple(TensorSpec(name, "int64", ()) for name in ("ids", "feats.0", "feats.1", "self"))


@pytest.mark.parametrize(
    ("values", "named", "found"),
    [
        ((), {"ids": 1}, {"ids": 1}),
        ((1, [2, 3], 4), {}, {"ids": 1, "feats": [2, 3], "self": 4}),
        ((1,), {"self": 4, "feats": [2, 3]}, {"ids": 1, "self": 4, "feats": [2, 3]}),
    ],
)
def test_values_by_position(
    values: tuple[object, ...], named: dict[str, object], found: dict[str, object]
) -> None:
    assert by_name(NESTED, values, named) == found


def test_positions_that_are_too_many_or_taken() -> None:
    with pytest.raises(InputError, match=r"at most the inputs \['ids', 'feats', 'self'\], got 4"):
        by_name(NESTED, (1, 2, 3, 4), {})
    with pytest.raises(InputError, match=r"by position and by name: \['ids'\]"):
        by_name(NESTED, (1,), {"ids": 1})


def test_gradients_are_left_behind_and_numpy_scalars_taken() -> None:
    x = TensorSpec("x", "float32", ())
    assert not tensors_of((x,), {"x": torch.ones((), requires_grad=True)})["x"].requires_grad
    assert tensors_of((x,), {"x": np.float32(2.5)})["x"].tolist() == 2.5


def test_the_refusal_names_the_input_and_what_would_help() -> None:
    mask = torch.zeros(2, 3, 1, dtype=torch.int64)
    for wrong, told in (
        (torch.zeros(2, 3), "'ids': expected int64, got float32; convert it first, for example with "
         ".to(torch.int64)"),
        ("text", "'ids': expected a torch tensor, a NumPy array or a tensor that offers DLPack, got str"),
        (np.array(["a"]), "'ids': NumPy dtype <U1: "),
    ):  # fmt: skip
        with pytest.raises(InputError) as caught:
            tensors_of((IDS, MASK), {"ids": wrong, "mask": mask})
        assert str(caught.value).startswith(f"input {told}")


def test_an_expression_over_symbols_is_held_to_its_value() -> None:
    doubled = TensorSpec("pairs", "int64", ("2*b", 4))
    for shape, wanted in (((5, 4), "4 as dimension 0"), ((4, 5), "4 as dimension 1")):
        with pytest.raises(InputError) as caught:
            bind((IDS, doubled), {"ids": (2, 9), "pairs": shape})
        assert str(caught.value) == (
            f"input 'pairs': expected {wanted} of [2*b, 4], got shape {list(shape)}"
        )


def test_a_symbol_is_told_by_the_input_that_gave_it_first() -> None:
    third = TensorSpec("third", "int64", ("s", "b"))
    with pytest.raises(InputError) as caught:
        bind((IDS, MASK, third), {"ids": (2, 9), "mask": (2, 9, 1), "third": (9, 5)})
    assert str(caught.value) == (
        "input 'third': dimension 1 is 'b', which is 2 in input 'ids', but got 5"
    )


def sized(name: str, *ranges: tuple[int, int, int]) -> Profile:
    return Profile(name, tuple((f"d{n}", Range(*each)) for n, each in enumerate(ranges)))


@pytest.mark.parametrize(
    ("tight", "loose"),
    [
        (sized("z", (8, 8, 8)), sized("a", (7, 8, 8))),
        (sized("z", (7, 8, 9), (1, 2, 3)), sized("a", (8, 8, 8), (1, 2, 10))),
        (sized("z", (8, 8, 8), (1, 2, 10)), sized("a", (7, 8, 9), (1, 2, 4))),
        (sized("z", (1, 1, 9), (2, 2, 2)), sized("a", (1, 1, 5), (2, 2, 3))),
        (sized("z", (1, 7, 9), (1, 2, 9)), sized("a", (1, 8, 9), (1, 8, 9))),
        (sized("z", (1, 9, 9), (1, 2, 9)), sized("a", (1, 1, 9), (1, 9, 9))),
        (sized("a", (1, 4, 9), (2, 2, 2)), sized("b", (1, 4, 9), (2, 2, 2))),
        (sized("a", (6, 6, 10), (2, 2, 2)), sized("b", (6, 10, 10), (2, 2, 2))),
    ],
)
def test_tighter_is_fewer_shapes_then_nearer_to_the_optimum_then_by_name(
    tight: Profile, loose: Profile
) -> None:
    sizes = {"d0": 8, "d1": 2}
    for order in ((tight, loose), (loose, tight)):
        assert choose(order, sizes) == tight


def test_a_profile_may_bound_a_symbol_that_the_call_does_not_have() -> None:
    assert choose((SHORT, LONG), {"b": 2}).name == "short"
    assert choose((SHORT, LONG), {"b": 9, "other": 1}).name == "long"


def test_without_any_profile_nothing_fits() -> None:
    with pytest.raises(InputError, match=r"^no profile contains no sizes \(\)\. Pad"):
        choose((), {})


def spec(*dims: int | str, name: str = "x", dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, dims)


@pytest.mark.parametrize(
    ("specs", "shapes", "symbols"),
    [
        ((spec("2*b", "s"),), {"x": (4, 7)}, {"b": 2, "s": 7}),
        ((spec("40 - s", 3, "b"),), {"x": (38, 3, 5)}, {"s": 2, "b": 5}),
        ((spec("b + s", "s"), spec("b", name="y")), {"x": (9, 4), "y": (5,)}, {"b": 5, "s": 4}),
        ((spec("3*n + 1", "2*n"),), {"x": (10, 6)}, {"n": 3}),
        ((spec("b*s", "s"),), {"x": (12, 4)}, {"b": 3, "s": 4}),
        ((spec("h//2"), spec("h - h//2", name="y")), {"x": (4,), "y": (5,)}, {"h": 9}),
        ((spec("(3*n)//2"),), {"x": (7,)}, {"n": 5}),
    ],
)
def test_sizes_that_are_expressions_tell_their_symbols(
    specs: tuple[TensorSpec, ...], shapes: dict[str, tuple[int, ...]], symbols: dict[str, int]
) -> None:
    assert bind(specs, shapes) == symbols


@pytest.mark.parametrize(
    ("specs", "shapes", "said"),
    [
        ((spec("2*b"), spec("s", name="y")), {"x": (5,), "y": (1,)},
         "sizes of x, y: no b gives '2*b' the size 5"),
        ((spec("3*n + 1"),), {"x": (9,)}, "sizes of x: no n gives '3*n + 1' the size 9"),
        ((spec("b*s"),), {"x": (6,)}, "the inputs' sizes do not tell b, s"),
        ((spec("h//2"),), {"x": (6,)}, "the inputs' sizes do not tell h"),
        ((spec("(3*n)//2"),), {"x": (5,)}, "sizes of x: no n gives '(3*n)//2' the size 5"),
        ((spec("h//2"), spec("h - h//2", name="y")), {"x": (4,), "y": (7,)},
         "sizes of x, y: no h gives 'h//2' the size 4, 'h - h//2' the size 7"),
        ((spec("max(n, 2)"),), {"x": (2,)}, "the inputs' sizes do not tell n"),
        ((spec("z*a", "y*b"),), {"x": (6, 6)}, "the inputs' sizes do not tell a, b, y, z"),
    ],
)  # fmt: skip
def test_sizes_that_tell_no_symbol_are_refused_with_what_they_lack(
    specs: tuple[TensorSpec, ...], shapes: dict[str, tuple[int, ...]], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        bind(specs, shapes)
    assert str(caught.value) == said


def test_what_is_expected_of_outputs_is_told_as_far_as_the_inputs_sizes_tell_it() -> None:
    outputs = (
        spec("b", "2*s", 3),
        spec("b", "u", name="found", dtype="int64"),
        spec(name="loss", dtype="bfloat16"),
        spec("s // (b - 2)", name="none"),
        spec("u", "v", name="neither", dtype="bool"),
    )
    assert list(expected(outputs, {"b": 2, "s": 5})) == [
        ("x", torch.float32, (2, 10, 3)),
        ("found", torch.int64, None),
        ("loss", torch.bfloat16, ()),
        ("none", torch.float32, None),
        ("neither", torch.bool, None),
    ]


ROWS = (spec("u", "b", name="rows", dtype="int64"), spec("u", "2*u", "b", name="y"))
"""Outputs with a size `u` that data decide."""


@pytest.mark.parametrize("count", [0, 1, 7])
def test_outputs_of_the_sizes_that_a_bundle_says_pass(count: int) -> None:
    rows, y = torch.zeros(count, 2, dtype=torch.int64), torch.zeros(count, 2 * count, 2)
    symbols = {"b": 2}
    hold(ROWS, {"rows": rows, "y": y}, symbols)
    assert symbols == {"b": 2}, "what one call's data decide says nothing of the next"
    hold((spec("u*v", "b"),), {"x": torch.zeros(5, 2)}, symbols)


@pytest.mark.parametrize(
    ("specs", "outputs", "said"),
    [
        (ROWS, {"rows": (3, 2), "y": (4, 6, 2)}, "'y': expected float32 [3, 6, 2], got float32 [4, 6, 2]"),
        (ROWS, {"rows": (3, 2), "y": (3, 6, 3)}, "'y': expected float32 [3, 6, 2], got float32 [3, 6, 3]"),
        (ROWS, {"rows": (3, 1), "y": (3, 6, 2)}, "'rows': expected int64 [3, 2], got int64 [3, 1]"),
        (ROWS, {"rows": (3,), "y": (3, 6, 2)}, "'rows': expected int64 [3, 2], got int64 [3]"),
        (ROWS, {"rows": (3, 2, 1), "y": (3, 6, 2)}, "'rows': expected int64 [3, 2], got int64 [3, 2, 1]"),
        ((spec("u*v", "b"),), {"x": (5, 3)}, "'x': expected float32 [u*v, 2], got float32 [5, 3]"),
        ((spec(4),), {"x": (5,)}, "'x': expected float32 [4], got float32 [5]"),
    ],
)  # fmt: skip
def test_an_output_of_another_size_is_a_failure(
    specs: tuple[TensorSpec, ...], outputs: dict[str, tuple[int, ...]], said: str
) -> None:
    dtypes = {one.name: getattr(torch, one.dtype) for one in specs}
    made = {name: torch.zeros(size, dtype=dtypes[name]) for name, size in outputs.items()}
    with pytest.raises(RuntimeFailure) as caught:
        hold(specs, made, {"b": 2})
    assert str(caught.value) == f"output {said}"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int32, torch.bool])
def test_an_output_of_another_type_is_a_failure(dtype: torch.dtype) -> None:
    with pytest.raises(RuntimeFailure) as caught:
        hold((spec("b", 3),), {"x": torch.zeros(2, 3, dtype=dtype)}, {"b": 2})
    told = str(dtype).removeprefix("torch.")
    assert str(caught.value) == f"output 'x': expected float32 [2, 3], got {told} [2, 3]"


REAL = TensorSpec("x", "float32", (2,))


@pytest.mark.parametrize(
    "given",
    [
        {"x": torch.zeros(2)},
        {"x": torch.zeros(2, requires_grad=True)},
        {"x": torch.nn.Parameter(torch.zeros(2))},
        {"x": torch.zeros(2).numpy()},
    ],
)
def test_the_quick_way_takes_what_the_other_takes(given: Any) -> None:
    for take in (Intake((REAL,)), lambda values: tensors_of((REAL,), values)):
        (found,) = take(given).values()
        assert found.tolist() == [0.0, 0.0]
        assert not found.requires_grad


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"x": torch.zeros(2), "y": torch.zeros(2)},
        {"x": torch.zeros(2, dtype=torch.float64)},
        {"x": torch.zeros(2).to_sparse()},
        {"x": torch.zeros(2, device="meta")},
        {"x": [0.0, 0.0]},
    ],
)
def test_the_quick_way_refuses_what_the_other_refuses(given: Any) -> None:
    with pytest.raises(InputError) as quick:
        Intake((REAL,))(given)
    with pytest.raises(InputError) as other:
        tensors_of((REAL,), given)
    assert str(quick.value) == str(other.value)
