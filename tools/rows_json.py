"""JSON for results files: one row a line, so that a file reads and compares like a table."""
import json

WIDTH = 160


def rows_json(value, indent=0):
    """The text of `value`: what fits into 160 characters on one line, each element of a longer list on one (numbers and texts side by
    side), each key of a longer object on a line of its own."""
    line = json.dumps(value, allow_nan=False)
    if len(line) + indent <= WIDTH or not isinstance(value, (dict, list)):
        return line
    inner, outer = " " * (indent + 1), " " * indent
    if isinstance(value, list) and not any(isinstance(entry, (dict, list)) for entry in value):
        lines = [inner]
        for i, entry in enumerate(value):  # never inside of a text
            word = json.dumps(entry, allow_nan=False) + ("," if i + 1 < len(value) else "")
            if lines[-1] == inner:
                lines[-1] += word
            elif len(lines[-1]) + 1 + len(word) <= WIDTH:
                lines[-1] += " " + word
            else:
                lines.append(inner + word)
        return "[\n" + "\n".join(lines) + f"\n{outer}]"
    if isinstance(value, list):
        rows = [inner + json.dumps(row, allow_nan=False) for row in value]
        return "[\n" + ",\n".join(rows) + f"\n{outer}]"
    rows = [f"{inner}{json.dumps(key)}: {rows_json(entry, indent + 1)}" for key, entry in value.items()]
    return "{\n" + ",\n".join(rows) + f"\n{outer}}}"
