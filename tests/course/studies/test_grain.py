"""What grain brings: the teachers' rules, equal sizes of the students, and the stored study."""

import pytest
import torch

from moe_course.studies import grain as study
from moe_lib.intervals import interval


@pytest.mark.parametrize("parts", study.PARTS)
def test_a_teacher_is_linear_where_no_sign_changes(parts):
    teacher = study.make_teacher(parts, seed=3)
    torch.manual_seed(0)
    x = torch.randn(64, study.WIDTH)
    torch.testing.assert_close(teacher(3 * x), 3 * teacher(x), rtol=1e-4, atol=1e-4)
    # Of 4 rules in each respect, opposite inputs meet different ones: it is not linear as a whole.
    assert (teacher(-x) + teacher(x)).abs().mean() > 0.3 * teacher(x).abs().mean()
    near = x + 1e-4 * torch.randn_like(x)
    middle = teacher((x + near) / 2)
    torch.testing.assert_close(middle, (teacher(x) + teacher(near)) / 2, rtol=1e-3, atol=1e-3)


def test_the_two_teachers_are_of_one_size():
    torch.manual_seed(0)
    x = torch.randn(4096, study.WIDTH)
    size = [study.make_teacher(parts, seed=1)(x).var().item() for parts in study.PARTS]
    assert size[0] == pytest.approx(size[1], rel=0.25)


def test_students_store_and_use_equally_much_but_for_the_router():
    students = {m: study.Student(m, seed=0) for m in study.SLICES}
    for m, student in students.items():
        assert student.router.shape == (study.WIDTH, m * study.EXPERTS)
        assert student.down.numel() == students[1].down.numel()
        _, gates = student(torch.randn(32, study.WIDTH))
        assert ((gates > 0).sum(1) == m * study.CHOSEN).all()
        assert torch.allclose(gates.sum(1), torch.full((32,), float(m * study.CHOSEN)))


def test_slices_with_the_same_router_rows_are_the_whole_expert():
    whole, cut = study.Student(1, seed=0), study.Student(4, seed=1)
    with torch.no_grad():
        cut.down.copy_(whole.down)
        cut.up.copy_(whole.up)
        cut.router.copy_(whole.router.repeat_interleave(4, dim=1))
    x = torch.randn(50, study.WIDTH)
    torch.testing.assert_close(cut(x)[0], whole(x)[0], rtol=1e-4, atol=1e-5)


def test_training_lowers_the_error_and_is_kept(tmp_path):
    assert study.error_after(1, 1, 0.03, 0, steps=60) < 1
    found = study.run_study(seeds=1, steps=2, kept=tmp_path)
    assert len(found["runs"]) == len(study.PARTS) * len(study.SLICES)
    assert study.run_study(seeds=1, steps=2, kept=tmp_path)["runs"] == found["runs"]


def test_the_stored_study_holds_what_the_course_says_of_it():
    errors = study.stored_runs().pivot(index="seed", columns=["parts", "slices"], values="error")
    assert len(errors) == study.SEEDS
    fine = interval(list(errors[4, 1] - errors[4, 4]))
    assert fine.mean > 5 * (errors[4, 1] - errors[4, 4]).std() and fine.mean > fine.half
    coarse = interval(list(errors[1, 1] - errors[1, 4]))
    assert abs(coarse.mean) < coarse.half  # a teacher of one piece: cutting brings nothing
