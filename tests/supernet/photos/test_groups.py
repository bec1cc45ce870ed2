"""classes.csv gives a group for every class, or a sentence about each fault."""

import pytest

from supernet.photos.findings import Kind
from supernet.photos.groups import read_groups
from supernet.photos.listing import File

HEADER = "fine_id,fine,coarse_id,coarse\n"


def table(content: str | bytes) -> File:
    raw = content if isinstance(content, bytes) else content.encode()
    return File(("classes.csv",), len(raw), lambda: raw)


def test_groups_are_found_by_name_of_class_and_not_by_line() -> None:
    text = HEADER + '0,pear,7,fruit\n1,"milk, fresh",3,dairy\n2,apple,7,fruit\n'
    assert read_groups(table(text), ("apple", "milk, fresh", "pear")) == (((1, 0, 1), ("dairy", "fruit")), [])
    assert read_groups(table("\ufeff" + text.replace("\n", "\r\n")), ("apple",)) == (((0,), ("fruit",)), [])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "the first line must be fine_id,fine,coarse_id,coarse"),
        ("fine,coarse\na,b\n", "the first line must be"),
        (HEADER + "0,apple,1\n", "line 2: 3 columns, 4 are needed"),
        (HEADER + "0,apple,one,fruit\n", "line 2: fine_id and coarse_id must be whole numbers"),
        (HEADER + "x,apple,1,fruit\n", "line 2: fine_id and coarse_id must be whole numbers"),
        (HEADER + "0,apple,-1,fruit\n", "line 2: fine_id and coarse_id must be whole numbers"),
        (HEADER + "0,apple,1,fruit\n1,apple,2,tree\n", "line 3: class apple is in two groups"),
        (HEADER + "0,apple,1,fruit\n1,pear,1,tree\n", "line 3: group 1 has two names"),
        (HEADER + "0,apple,1,fruit\n1,pear,2,fruit\n", "two groups have one name"),
        (HEADER + "0,pear,1,fruit\n", "class apple is missing"),
        (HEADER + '0,"apple,1,fruit\n', "unexpected end of data"),
        (b"\xff\xfe\0", "not UTF-8"),
        (HEADER + "0,apple,1,fruit\n" * 2**16, "over 1 MB"),
    ],
)
def test_every_fault_is_told(content: str | bytes, told: str) -> None:
    groups, findings = read_groups(table(content), ("apple",))
    assert groups == ((), ())
    assert any(told in finding.detail for finding in findings)
    assert {finding.kind for finding in findings} == {Kind.TABLE}


def test_all_faults_are_told_at_once() -> None:
    _, findings = read_groups(table(HEADER + "0,pear\n1,fig,x,fruit\n"), ("apple", "kiwi"))
    assert len(findings) == 4
