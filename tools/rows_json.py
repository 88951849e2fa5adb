"""JSON for results files: one row a line, so that a file reads and compares like a table."""
import json
import textwrap

WIDTH = 160


def rows_json(value, indent=0):
    """The text of `value`: what fits into 160 characters on one line, each element of a longer list on one (numbers and texts side by
    side), each key of a longer object on a line of its own."""
    line = json.dumps(value, allow_nan=False)
    if len(line) + indent <= WIDTH or not isinstance(value, (dict, list)):
        return line
    inner, outer = " " * (indent + 1), " " * indent
    if isinstance(value, list) and not any(isinstance(entry, (dict, list)) for entry in value):
        words = textwrap.wrap(line[1:-1], WIDTH - len(inner), break_long_words=False, break_on_hyphens=False)
        if json.loads("[" + " ".join(words) + "]") == value:  # no text with several blanks in a row
            return "[\n" + "\n".join(inner + part for part in words) + f"\n{outer}]"
    if isinstance(value, list):
        rows = [inner + json.dumps(row, allow_nan=False) for row in value]
        return "[\n" + ",\n".join(rows) + f"\n{outer}]"
    rows = [f"{inner}{json.dumps(key)}: {rows_json(entry, indent + 1)}" for key, entry in value.items()]
    return "{\n" + ",\n".join(rows) + f"\n{outer}}}"
