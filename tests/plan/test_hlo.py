"""What devices send each other, read from texts of programs whose answer is known."""

from __future__ import annotations

import pytest

from tl_jax.plan.hlo import Collective, collectives, custom_kernels, sent_by_axis

MESH = {"data": 2, "fsdp": 4, "tensor": 1}
TEXT = """\
HloModule jit_step

%sum (a: f32[], b: f32[]) -> f32[] {
  ROOT %add = f32[] add(%a, %b)
}

%until (state: (s32[], f32[8])) -> pred[] {
  %limit = s32[] constant(5)
  ROOT %less = pred[] compare(%counter, %limit), direction=LT
}

%layer (state: (s32[], f32[8])) -> (s32[], f32[8]) {
  %gathered.1 = bf16[4,8]{1,0:T(8,128)(2,1)S(1)} all-gather(%x), channel_id=7, replica_groups=[2,4]<=[8], dimensions={0}
  %gathered.2 = bf16[4,8]{1,0} all-gather(%x), channel_id=7, replica_groups=[2,4]<=[8], dimensions={0}
  %start = (f32[8], f32[8]) all-reduce-start(%y), channel_id=8, replica_groups={{0,4},{1,5},{2,6},{3,7}}, to_apply=%sum
  %done = f32[8]{0} all-reduce-done(%start)
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %known = (s32[], f32[8]) while(%t), condition=%other, body=%layer, backend_config={"known_trip_count":{"n":"3"}}
  %scattered = f32[2,8] reduce-scatter(%z), channel_id=9, replica_groups=mesh['a'=2,'b'=4] {'a','b'}, to_apply=%sum
  %kernel = f32[8] custom-call(%w), custom_call_target="__cudnn$fmhaSoftmax"
}
"""


def test_a_loop_counts_as_often_as_it_runs() -> None:
    found = sorted(collectives(TEXT, MESH), key=lambda one: one.kind)
    assert found == [
        Collective("all-gather", "fsdp", 3 * 64 * 3 / 4, 3),  # two pieces of one channel are one collective
        Collective("all-reduce", "data", 3 * 2 * 32 / 2, 3),
        Collective("reduce-scatter", "data+fsdp", 7 * 64, 1),
    ]
    assert sent_by_axis(found) == {"fsdp": 144.0, "data": 96.0, "data+fsdp": 448.0}


def test_a_tpu_s_kernel_for_a_reduce_scatter_is_one() -> None:
    """Its text holds an all-reduce of the whole array, of which each device keeps a part."""
    text = """\
%all-reduce-scatter.1.clone.1 (input: bf16[64,8]) -> bf16[16,8] {
  %all-reduce = bf16[64,8] all-reduce(%input), channel_id=23, replica_groups=[2,4]<=[8], to_apply=%sum
  ROOT %part = bf16[16,8] dynamic-slice(%all-reduce, %zero, %place), dynamic_slice_sizes={16,8}
}

ENTRY %main (p: bf16[64,8]) -> bf16[16,8] {
  %scattered = bf16[16,8] fusion(%p), kind=kCustom, calls=%all-reduce-scatter.1.clone.1
}
"""
    assert collectives(text, MESH) == [Collective("reduce-scatter", "fsdp", 3 / 4 * 1024, 1)]


def test_a_loop_without_a_count_compares_with_one() -> None:
    text = TEXT.replace("%other", "%until").replace(', backend_config={"known_trip_count":{"n":"3"}}', "")
    assert sorted(one.times for one in collectives(text, MESH)) == [1, 5, 5]


def test_a_loop_that_counts_by_two_runs_half_as_often() -> None:
    """As XLA's products with parts of a matrix do; the counter is the second of what one turn hands to the next."""
    text = """\
%until (state: (bf16[4,8], u32[])) -> pred[] {
  %limit = u32[] constant(8)
  %state = (bf16[4,8], u32[]) parameter(0)
  %counter = u32[]{:T(128)} get-tuple-element(%state), index=1
  ROOT %less = pred[] compare(%counter, %limit), direction=LT
}

%turn (state: (bf16[4,8], u32[])) -> (bf16[4,8], u32[]) {
  %two = u32[] constant(2)
  %counter.1 = u32[] get-tuple-element(%state.1), index=1
  %next = u32[] add(%counter.1, %two)
  %moved = bf16[4,8] collective-permute(%part), channel_id=7, source_target_pairs={{0,1},{1,2},{2,3},{3,0}}
  ROOT %handed_on = (bf16[4,8], u32[]) tuple(%moved, %next)
}

ENTRY %main (p: bf16[4,8]) -> bf16[4,8] {
  %loop = (bf16[4,8], u32[]) while(%start), condition=%until, body=%turn
}
"""
    assert collectives(text, MESH) == [Collective("collective-permute", "fsdp", 4 * 64, 4)]


def test_a_loop_that_ends_when_its_data_says_so_runs_as_often_as_the_caller_says() -> None:
    text = TEXT.replace(', backend_config={"known_trip_count":{"n":"3"}}', "")
    assert sorted(one.times for one in collectives(text, MESH, unknown_loop=11)) == [1, 11, 11]


@pytest.mark.parametrize(
    ("groups", "axis"),
    [
        ("replica_groups={{0,1,2,3},{4,5,6,7}}", "fsdp"),
        ("replica_groups=[4,2]<=[2,4]T(1,0)", "data"),
        ("replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_0'}", "data"),
        ("replica_groups=mesh['axis_0'=2,'axis_1'=4,'axis_2'=1] {'axis_1','axis_2'}", "fsdp"),
        ("replica_groups={}", "data+fsdp"),
        ("source_target_pairs={{0,1},{1,2}}", "fsdp"),
        ("replica_groups={{0},{1}}", "none"),
        ("replica_groups={{0,99}}", "?"),
    ],
)
def test_axes_are_those_along_which_the_devices_of_a_group_differ(groups: str, axis: str) -> None:
    text = TEXT.replace("replica_groups=[2,4]<=[8]", groups)
    assert {one.axis for one in collectives(text, MESH) if one.kind == "all-gather"} == {axis}


def test_kernels_written_by_hand() -> None:
    assert custom_kernels(TEXT) == ["__cudnn$fmhaSoftmax"]
