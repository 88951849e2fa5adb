"""The Python of tools/python/README.md runs, block by block, in one process and an empty folder."""

import ast
import json
import re
import shutil

import pytest
from conftest import GOLDEN, PHOTO, TREE


def blocks(text):
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_check_finds_blocks():
    assert blocks("a\n```python\nx = 1\n```\n```sh\nls\n```\n```python\ny\n```\n") == ["x = 1\n", "y\n"]


def test_readme(tmp_path, monkeypatch):
    text = (TREE / "tools" / "python" / "README.md").read_text()
    found = blocks(text)
    assert len(found) >= 4
    monkeypatch.chdir(tmp_path)
    shutil.copytree(GOLDEN / "sana", tmp_path / "vae")
    shutil.copy(PHOTO, tmp_path / "photo.png")
    names = {}
    for i, block in enumerate(found):
        if "import torch" in block:
            try:
                import torch  # noqa: F401
            except ModuleNotFoundError:
                continue
        try:
            exec(compile(block, f"block {i + 1}", "exec"), names)
        except Exception as e:
            pytest.fail(f"block {i + 1}: {type(e).__name__}: {e}\n{block}")


def test_notebook():
    """Cell by cell, as Jupyter does it: the last expression of a cell is shown, as HTML where it can."""
    notebook = json.loads((TREE / "tools" / "python" / "examples" / "layers.ipynb").read_text())
    names, shown = {}, []
    for i, cell in enumerate(c for c in notebook["cells"] if c["cell_type"] == "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None, "notebooks are committed without their outputs"
        tree = ast.parse("".join(cell["source"]), f"cell {i + 1}")
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"cell {i + 1}", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), f"cell {i + 1}", "eval"), names)
            shown.append(value._repr_html_() if hasattr(value, "_repr_html_") else repr(value))
    assert any("<table>" in text for text in shown)


def test_links():
    text = (TREE / "tools" / "python" / "README.md").read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("http") or (TREE / "tools" / "python" / link).exists(), link
